// What the lines and areas of a chart are, with their values where the cursor is.

import { html } from "../dom.js";
import { figure, percent } from "../format.js";
import { useSignal } from "../signal.js";
import { steps, value } from "./words.js";

/** Values at the cursor, the newest ones while nothing is pointed at. */
export function Legend({ spec, cursor }) {
  const pointed = useSignal(cursor);
  // Bins grow between two drawings; what a chart computes of them does not.
  const at = pointed ?? spec.end;
  const { stack = [], lines, levels = [], injected, format } = spec;
  return html`
    <dl class="legend">
      <div class="at"><dt class="unseen">At</dt><dd>${steps(spec.data, at)}</dd></div>
      ${lines.map(
        (line) => html`
          <${Entry} key=${line.label} label=${line.label} value=${value(line, pointed ?? line.end ?? at, format)}>
            <${Stroke} ...${line} />
          <//>
        `,
      )}
      ${levels.map(
        (level) => html`
          <${Entry} key=${level.label} label=${level.label} value=${format(level.value)}>
            <${Stroke} ...${level} />
          <//>
        `,
      )}
      ${stack.map(
        ({ label, colour, share }) => html`
          <${Entry} key=${label} label=${label} value=${percent(share[at])}>
            <span class="area" style=${{ background: `var(--${colour})` }}></span>
          <//>
        `,
      )}
      ${injected &&
      html`
        <${Entry} label="injected groups" value=${figure(injected[at])}>
          <span class="area injected" style=${{ background: "var(--threshold)" }}></span>
        <//>
      `}
    </dl>
  `;
}

function Entry({ label, value, children }) {
  return html`<div><dt>${children}${label}</dt><dd>${value}</dd></div>`;
}

/** How a line looks. */
export function Stroke({ colour, dash, width = 1.5, alpha }) {
  return html`
    <svg class="stroke" viewBox="0 0 18 8" aria-hidden="true">
      <path
        d="M0 4H18"
        stroke="var(--${colour})"
        stroke-width=${width}
        stroke-dasharray=${dash?.join(" ")}
        stroke-opacity=${alpha}
      />
    </svg>
  `;
}
