// What could not be read, and why.

import { html } from "../dom.js";

/** `what` begins the sentence; `retry` asks again. */
export function Failed({ what, problem, retry }) {
  return html`
    <p class="problem" role="alert">
      ${what} cannot be read: ${problem.message}${" "}
      <button type="button" class="button" onClick=${retry}>Try again</button>
    </p>
  `;
}
