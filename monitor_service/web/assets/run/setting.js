// One setting of the form: what it is, what is requested, what the trainer applied, what it ignored.

import { html, useState } from "../dom.js";
import { bounds, inForce, nothing, shown } from "./fields.js";
import { FORM } from "./form.js";

/**
 * A row.
 *
 * @param {object} props
 * @param {object} props.field as `GET /v1/fields` describes it.
 * @param {object} props.run
 * @param {object} props.applied by `appliedOf`.
 * @param {string | undefined} props.text what was typed and is not sent; undefined when nothing was.
 * @param {string} props.problem why it cannot be sent; "" when it can.
 * @param {((text: string) => void) | null} props.edit null: read only.
 */
export function Setting({ field, run, applied, text, problem, edit }) {
  const id = `setting-${field.name}`;
  const configured = run.settings[field.name];
  const { value, because } = inForce(run, field);
  const described = `${id}-bounds ${id}-about${problem && ` ${id}-problem`}`;
  return html`
    <tr class=${text === undefined ? "" : "edited"}>
      <th scope="row">
        ${edit ? html`<label for=${id}>${field.name}</label>` : html`<b>${field.name}</b>`}${" "}
        <span id="${id}-bounds" class="hint small">${bounds(field)}</span>
        <p id="${id}-about">${field.about}</p>
      </th>
      <td data-title="Requested">
        ${edit
          ? html`<${Input} ...${{ id, field, configured, text, described, problem, edit }} />`
          : html`<span id=${id} class="value">${shown(field, configured)}</span>`}
        ${because && html`<p>${shown(field, value)} by ${because}</p>`}
        ${problem && html`<p id="${id}-problem" class="problem">${problem}</p>`}
      </td>
      <td data-title="Applied">
        <span class="value">${applied.value === undefined ? "" : shown(field, applied.value)}</span>
        ${applied.note && html`<p>${applied.note}</p>`}
      </td>
      <td data-title="Ignored because" class="ignored">${applied.ignored}</td>
    </tr>
  `;
}

function Input({ id, field, configured, text, described, problem, edit }) {
  const now = configured === null ? "" : shown(field, configured);
  // What moves by itself stands still under the cursor.
  const [still, setStill] = useState(null);
  const common = {
    id,
    form: FORM,
    value: text ?? still ?? now,
    "aria-describedby": described,
    "aria-invalid": problem ? "true" : undefined,
    onFocus: () => setStill(now),
    onBlur: () => setStill(null),
  };
  const names = field.kind === "boolean" ? ["true", "false"] : field.choices;
  if (names.length) {
    return html`
      <select ...${common} onChange=${(event) => edit(event.target.value)}>
        ${field.is_nullable && html`<option value="">${nothing(field)}</option>`}
        ${names.map((name) => html`<option value=${name}>${name}</option>`)}
      </select>
    `;
  }
  return html`
    <input
      ...${common}
      inputmode=${field.kind === "integer" ? "numeric" : "decimal"}
      placeholder=${field.is_nullable ? nothing(field) : undefined}
      autocomplete="off"
      spellcheck="false"
      onInput=${(event) => edit(event.target.value)}
    />
  `;
}
