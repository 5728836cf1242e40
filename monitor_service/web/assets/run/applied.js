// What the trainer says it made of a setting, beside what was asked for.

import { count } from "../format.js";
import { inForce } from "./fields.js";
import { fate } from "./trail.js";

/**
 * What is known of a field: `{value, note, ignored}`.
 *
 * - `value`: in force at the newest report, as far as the trainer says; undefined where it does not.
 * - `note`: since when, or what it waits for.
 * - `ignored`: why it is not what was asked for; "" when nothing was ignored.
 */
export function appliedOf(field, run, orders) {
  const said = run.last?.applied;
  if (!said) return { value: undefined, note: run.last ? "not reported" : "no report yet", ignored: "" };
  const order = orders?.find((one) => changes(one, field));
  const isWaiting = Boolean(order) && fate(order, run)[0] === "waiting";
  const since = isWaiting ? "is waited for" : `@ step ${count(order?.applied_step)}`;
  const note = order ? `v${count(order.version)} ${since}` : "";
  if (field.is_knob) return knob(field, run, note, isWaiting);
  const ignored = said.note ?? "";
  if (field.name === "mode") return { value: said.mode, note, ignored };
  if (field.name === "threshold") return { value: said.threshold, note, ignored };
  return { value: isWaiting ? order.old[field.name] : inForce(run, field).value, note, ignored };
}

function knob(field, run, note, isWaiting) {
  const { applied, requested } = run.knobs.find((one) => one.name === field.name) ?? {};
  if (!applied) {
    // What nobody asks for is not reported on: it is the trainer's own.
    return { value: requested == null && !isWaiting ? null : undefined, note, ignored: "" };
  }
  const { status, value, reason } = applied;
  if (status === "ignored") return { value, note, ignored: reason ?? "the trainer gives no reason" };
  // What keeps it from having an effect.
  return { value, note: [note, reason].filter(Boolean).join("; "), ignored: "" };
}

/** Whether an order is about this field. */
function changes(order, field) {
  return order.version !== null && (field.name in order.new || field.name in order.old);
}
