// The settings of a run as a form: requested, applied and ignored side by side.

import { html, useState } from "../dom.js";
import { count } from "../format.js";
import { useCan } from "../me.js";
import { appliedOf } from "./applied.js";
import { Failed } from "./failed.js";
import { useFields } from "./fields.js";
import { useForm } from "./form.js";
import { Fate } from "./order.js";
import { Review } from "./review.js";
import { Setting } from "./setting.js";
import { useTrail } from "./trail.js";

/** What people change, in the order of their questions; the rest is behind a button. */
const COMMON = [
  ...["mode", "threshold", "target", "scale_wrong", "scale_correct", "max_advantage"],
  ...["max_group_fraction", "max_mass_fraction", "temperature", "learning_rate_scale"],
  ...["epsilon_high", "beta", "entropy_coef"],
];

/** Headings for the groups of the others. */
const GROUPS = {
  decision: "When to inject",
  controller: "Of the controllers",
  injection: "What is injected",
  limits: "Limits",
  reward: "Rewards",
  trainer: "The trainer's own",
};

export function Settings({ run, state }) {
  const { fields, problem, retry } = useFields();
  const { orders } = useTrail(run, state);
  const form = useForm(run, state, fields ?? []);
  const mayControl = useCan("control");
  const [wanted, setWanted] = useState("");
  const [isWhole, setIsWhole] = useState(false);
  if (problem) return html`<${Failed} what="The settings" ...${{ problem, retry }} />`;
  if (!fields) return html`<p class="hint">Loading …</p>`;

  const isFound = ({ name, about }) => `${name} ${about}`.toLowerCase().includes(wanted);
  const isShown = (field) =>
    // What was typed stays in sight.
    field.name in form.edits || (wanted ? isFound(field) : isWhole || COMMON.includes(field.name));
  const row = (field) => html`
    <${Setting}
      key=${field.name}
      ...${{ field, run, applied: appliedOf(field, run, orders) }}
      text=${form.edits[field.name]}
      problem=${form.problems[field.name] ?? ""}
      edit=${mayControl ? (text) => form.edit(field, text) : null}
    />
  `;

  return html`
    <div class="settings-form">
      <div class="toolbar settings-tools">
        <input
          type="search"
          aria-label="Search the settings"
          placeholder="Search"
          value=${wanted}
          onInput=${(event) => setWanted(event.target.value.trim().toLowerCase())}
        />
        <button type="button" class="button" aria-pressed=${isWhole} onClick=${() => setIsWhole(!isWhole)}>
          All ${fields.length} settings
        </button>
        <span class="hint">profile ${run.settings.profile}, revision ${run.settings.revision}</span>
      </div>
      <table class="settings" aria-label="Settings">
        <${Titles} run=${run} />
        ${sectionsOf(fields, isShown).map(
          ([title, shown]) => html`
            <tbody key=${title}>
              ${title && html`<tr class="section"><th scope="rowgroup" colspan="4">${title}</th></tr>`}
              ${shown.map(row)}
            </tbody>
          `,
        )}
      </table>
      ${!fields.some(isFound) && html`<p class="hint">No setting has “${wanted}” in its name or description.</p>`}
      <div class="settings-foot">
        ${form.since && html`<${Review} ...${{ form, run, orders }} />`}
        ${!form.since && form.sent && html`<${Sent} ...${{ form, run, orders }} />`}
      </div>
    </div>
  `;
}

/** `[title, fields]`: the common ones, then the others by group; without those that have nothing. */
function sectionsOf(fields, isShown) {
  const isCommon = ({ name }) => COMMON.includes(name);
  const byPlace = (one, other) => COMMON.indexOf(one.name) - COMMON.indexOf(other.name);
  const others = fields.filter((one) => !isCommon(one) && isShown(one));
  return [
    ["", fields.filter((one) => isCommon(one) && isShown(one)).sort(byPlace)],
    ...Object.entries(GROUPS).map(([group, title]) => [title, others.filter((one) => one.group === group)]),
  ].filter(([, shown]) => shown.length > 0);
}

function Titles({ run: { settings, last } }) {
  const applied = last?.applied && `v${count(last.applied.settings_version)} @ step ${count(last.step)}`;
  return html`
    <thead>
      <tr>
        <th scope="col">Setting</th>
        <th scope="col">Requested <span class="hint">v${count(settings.version)}</span></th>
        <th scope="col">Applied <span class="hint">${applied}</span></th>
        <th scope="col">Ignored because</th>
      </tr>
    </thead>
  `;
}

/** What becomes of the newest change. */
function Sent({ form: { sent, forget }, run, orders }) {
  const order = orders?.find((one) => one.version === sent);
  return html`
    <div class="sent">
      <span>sent: v${count(sent)}</span>
      ${order && html`<${Fate} ...${{ order, run }} />`}
      <button type="button" class="button quiet" onClick=${forget}>Close</button>
    </div>
  `;
}
