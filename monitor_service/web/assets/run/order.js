// One order of a person: who, when, why, what, and what came of it.

import { html } from "../dom.js";
import { Age, clock, count } from "../format.js";
import { Differences, differences } from "./difference.js";
import { fate } from "./trail.js";

const COMMANDS = { save: "ordered a checkpoint", stop: "ordered the training to stop" };

/** An item of a list; `isWhole` adds at what time it was given, and from where. */
export function Order({ order, run, isWhole = false }) {
  const time = isWhole && `, ${clock(order.at_s)}`;
  const place = isWhole && placeOf(order.origin);
  return html`
    <li>
      <p>
        <strong>${order.actor}</strong> ${deed(order)}
        <span class="hint"> after step ${count(order.step)}${time}, <${Age} at=${order.at_s} /></span>
      </p>
      <${Differences} entries=${differences(order.old, order.new)} />
      <p>${order.reason}</p>
      <${Fate} ...${{ order, run }} />
      ${place && html`<p class="hint small">from ${place}</p>`}
    </li>
  `;
}

function placeOf(origin) {
  return [origin?.address, origin?.token && `token ${origin.token}`, origin?.client].filter(Boolean).join(", ");
}

/** Whether the trainer acts on it, and from which step. */
export function Fate({ order, run }) {
  const [state, words] = fate(order, run);
  return html`<p class="fate ${state}">${words}</p>`;
}

/** What was done, in words. */
export function deed({ kind, number, new: after }) {
  if (kind === "settings_changed") return "changed the settings";
  if (kind === "override_added") return `added override ${number}`;
  if (kind === "override_ended") return `ended override ${number}`;
  if (kind === "killed") return "killed all interventions";
  if (kind === "rearmed") return "re-armed the run";
  return COMMANDS[after.command?.kind] ?? kind.replaceAll("_", " ");
}
