// For how long a change is to act: for good, or until so much time or so many steps have passed.

import { html, useState } from "../dom.js";

const MAX_STEPS = 500;
const PRESETS = ["10 min", "1 h", "8 h"];
const TIME = /^\s*(\d+(?:\.\d+)?)\s*(s|min|m|h)\s*$/;
const UNITS_S = { s: 1, min: 60, m: 60, h: 3600 };

/**
 * `{inputs, expires, isForAWhile}`: the inputs, and the ends as fields of a request.
 *
 * @param {object} problems what is wrong, by field of the request.
 */
export function useExpiry(problems) {
  const [isForAWhile, setIsForAWhile] = useState(false);
  const [time, setTime] = useState("1 h");
  const [steps, setSteps] = useState(String(MAX_STEPS));
  const inputs = html`
    <fieldset class="expiry">
      <legend>How long</legend>
      <label>
        <input type="radio" name="expiry" checked=${!isForAWhile} onChange=${() => setIsForAWhile(false)} />
        for good
      </label>
      <label>
        <input type="radio" name="expiry" checked=${isForAWhile} onChange=${() => setIsForAWhile(true)} />
        for a while
      </label>
      ${isForAWhile && html`<${Ends} ...${{ time, setTime, steps, setSteps, problems }} />`}
    </fieldset>
  `;
  const expires = () => ({ expires_in_steps: Number(steps), expires_in_s: seconds(time) });
  return { inputs, expires, isForAWhile };
}

function Ends({ time, setTime, steps, setSteps, problems }) {
  const problem = problems.expires_in_s ?? problems.expires_in_steps;
  return html`
    <div class="ends">
      <label for="expiry-time">Time</label>
      <input
        id="expiry-time"
        value=${time}
        onInput=${(event) => setTime(event.target.value)}
        required
        pattern=${TIME.source}
        title="such as 90 s, 10 min or 8 h"
        aria-invalid=${problems.expires_in_s ? "true" : undefined}
        aria-describedby="expiry-about"
        autocomplete="off"
      />
      ${PRESETS.map(
        (preset) => html`
          <button type="button" class="button" aria-pressed=${time === preset} onClick=${() => setTime(preset)}>
            ${preset}
          </button>
        `,
      )}
      <label for="expiry-steps">or steps</label>
      <input
        id="expiry-steps"
        type="number"
        min="1"
        max=${MAX_STEPS}
        value=${steps}
        onInput=${(event) => setSteps(event.target.value)}
        required
        aria-invalid=${problems.expires_in_steps ? "true" : undefined}
        aria-describedby="expiry-about"
      />
      <p id="expiry-about" class="hint">
        Whichever comes first, at most 24 h and ${MAX_STEPS} steps. Then what is beneath acts again.
      </p>
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    </div>
  `;
}

/** A span that was typed; null when it is none. */
function seconds(text) {
  const [, number, unit] = TIME.exec(text) ?? [];
  return number ? Number(number) * UNITS_S[unit] : null;
}
