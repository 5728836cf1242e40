// What an order changed: old and new side by side.

import { html } from "../dom.js";
import { shown, useFields } from "./fields.js";

/** Said by the kind of the order already. */
const SAID = ["kill", "command", "stage"];

/** `[name, old, new]` of what is other than before; `old` is undefined where unknown. */
export function differences(before, after) {
  return Object.keys(after)
    .filter((name) => !SAID.includes(name) && before[name] !== after[name])
    .map((name) => [name, before[name], after[name]]);
}

/** `entries` as `differences` gives them, in the words of the form. */
export function Differences({ entries }) {
  const { fields } = useFields();
  if (!entries.length) return null;
  return html`
    <ul class="differences">
      ${entries.map(([name, before, after]) => {
        const field = fields?.find((one) => one.name === name);
        const from = before !== undefined && html`<del>${shown(field, before)}</del> → `;
        return html`<li key=${name}><span class="name">${name}</span> ${from}<ins>${shown(field, after)}</ins></li>`;
      })}
    </ul>
  `;
}
