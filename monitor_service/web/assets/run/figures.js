// The charts of a run: all over the same steps, with one cursor.

import { Chart } from "../charts.js";
import { glyph } from "../chart/glyph.js";
import { html, useEffect, useMemo, useState } from "../dom.js";
import { count, plural } from "../format.js";
import { go, link } from "../router.js";
import { signal, useSignal } from "../signal.js";
import { useColumns } from "./columns.js";
import { useComponents } from "./components.js";
import { marksOf } from "./landmarks.js";
import { zoom } from "./range.js";
import { factsOf, FIELDS, specsOf } from "./specs.js";

/**
 * What the charts of a run share: bins, specs, a cursor, and how they are moved.
 *
 * @param {string} id
 * @param {object} state of useRun.
 * @param {object[] | null} events of useLandmarks.
 * @param {{from: number, to?: number} | null} range steps to show; null: all.
 */
export function useCharts(id, { run, news }, events, range) {
  const { bins, version, problem } = useColumns(id, news, FIELDS, range);
  const components = useComponents(id, run, bins, version, news);
  const [cursor] = useState(() => signal(null));
  useEffect(() => cursor.set(null), [bins]);
  const marks = useMemo(() => (events ? marksOf(events) : []), [events]);
  const facts = useMemo(() => factsOf(run), [JSON.stringify(factsOf(run))]);
  const specs = useMemo(
    () => (bins?.length ? specsOf(bins, within(marks, bins), facts, components) : null),
    [bins, version, marks, facts, components],
  );
  return { id, bins, specs, problem, cursor, range };
}

/** Which steps are shown, and the way to others. */
function Range({ charts: { bins, range } }) {
  if (!bins?.length) return null;
  const [first, last] = [bins.from[0], bins.lastStep];
  const ask = (event) => {
    event.preventDefault();
    const [from, to] = ["from", "to"].map((name) => Number(event.target.elements[name].value));
    zoom({ from: Math.min(from, to), to: Math.max(from, to) });
  };
  return html`
    <form class="range toolbar" onSubmit=${ask} key="${range?.from} ${range?.to}">
      <span>
        ${plural(bins.total, "step")}, ${count(first)} to ${count(last)}
        ${bins.size > 1 && html`<span class="hint">; each point is the mean of ${count(bins.size)}</span>`}
      </span>
      <label class="end">From <input type="number" name="from" min="1" required defaultValue=${range?.from ?? first} /></label>
      <label>to <input type="number" name="to" min="1" required defaultValue=${range?.to ?? last} /></label>
      <button class="button">Show</button>
      <button class="button" type="button" disabled=${!range} onClick=${() => zoom(null)}>All steps</button>
    </form>
  `;
}

/** Outcomes of groups, ACR, threshold, and what happened; and which steps all charts show. */
export function Outcomes({ charts }) {
  const { bins, specs, problem, cursor } = charts;
  return html`
    <div class="panel outcomes">
      ${problem &&
      html`<p class="notice" data-kind="problem">The figures cannot be had: ${problem.message}. Trying again.</p>`}
      ${specs &&
      html`
        <${Figure} charts=${charts} spec=${specs.outcomes}><${Notes} spec=${specs.outcomes} cursor=${cursor} /><//>
      `}
      ${!bins && !problem && html`<p class="hint">Loading the history …</p>`}
      ${bins && !specs && html`<p class="hint">${charts.range ? "No such steps yet." : "Nothing was reported yet."}</p>`}
      <${Range} charts=${charts} />
    </div>
  `;
}

/** All other figures, each in a chart of its own, and what there is no chart of, and why. */
export function Figures({ charts }) {
  const { figures = [], missing = [] } = charts.specs ?? {};
  return html`
    <div class="figures">
      ${figures.map(
        (spec) => html`
          <div class="panel" key=${spec.title}><${Figure} charts=${charts} spec=${spec} /></div>
        `,
      )}
    </div>
    ${missing.length > 0 &&
    html`
      <ul class="missing hint">
        ${missing.map(({ title, why }) => html`<li key=${title}>${title}: ${why}.</li>`)}
      </ul>
    `}
  `;
}

function Figure({ charts: { id, bins, cursor, range }, spec, children }) {
  const open = (at) => {
    const [from, to] = [bins.from[at], bins.to[at]];
    if (from === to) go(link(["runs", id, "steps", to]));
    else zoom({ from, to });
  };
  return html`
    <${Chart}
      title=${spec.title}
      unit=${spec.unit}
      spec=${spec}
      cursor=${cursor}
      select=${(from, to) => zoom({ from, to })}
      reset=${range && (() => zoom(null))}
      open=${open}
    >
      ${children}
    <//>
  `;
}

/** What happened at the cursor; without one, what the marks stand for. */
function Notes({ spec: { data, marks }, cursor }) {
  const at = useSignal(cursor);
  if (at === null) {
    const kinds = [...new Set(marks.map(({ kind }) => kind))];
    return html`
      <p class="marked hint">
        ${kinds.map((kind) => html`<span key=${kind}><${Sign} kind=${kind} /> ${glyph(kind).words}</span>`)}
        <span>${data.size > 1 ? "Click a point to see its steps" : "Click a step to see its groups"}, drag to zoom in.</span>
      </p>
    `;
  }
  const here = marks.filter(({ step }) => step >= data.from[at] && step <= data.to[at]);
  const rest = here.length > LINES ? here.length - LINES + 1 : 0;
  return html`
    <p class="marked">
      ${here.slice(0, here.length - rest).map(
        ({ step, kind, text }, number) => html`
          <span class="mark" key=${number} title=${text}>
            <${Sign} kind=${kind} /> step ${count(step)}: ${text}
          </span>
        `,
      )}
      ${rest > 0 && html`<span>and ${count(rest)} more here</span>`}
    </p>
  `;
}
const LINES = 2;

function Sign({ kind }) {
  const { sign, colour } = glyph(kind);
  return html`<span style=${{ color: `var(--${colour})` }} aria-hidden="true">${sign}</span>`;
}

function within(marks, bins) {
  if (!bins?.length) return [];
  return marks.filter(({ step }) => step >= bins.from[0] && step <= bins.lastStep);
}
