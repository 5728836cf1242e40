// What an order changed: old and new side by side.

import { html } from "../dom.js";
import { setting } from "../format.js";

/** Said by the kind of the order already. */
const SAID = ["kill", "command", "stage"];

/** `[name, old, new]` of what is other than before, in words; `old` is undefined where unknown. */
export function differences(before, after) {
  return Object.keys(after)
    .filter((name) => !SAID.includes(name) && before[name] !== after[name])
    .map((name) => [name, name in before ? setting(before[name]) : undefined, setting(after[name])]);
}

export function Differences({ entries }) {
  return html`
    <ul class="differences">
      ${entries.map(([name, before, after]) => {
        const from = before !== undefined && html`<del>${before}</del> → `;
        return html`<li key=${name}><span class="name">${name}</span> ${from}<ins>${after}</ins></li>`;
      })}
    </ul>
  `;
}
