// The settings that people may change: what they are, and how their values are read and written.

import { get } from "../api.js";
import { useEffect, useState } from "../dom.js";
import { setting } from "../format.js";

let known = null;
let asked = null;

/** `{fields, problem, retry}`: every field, as `GET /v1/fields` lists them; they never change. */
export function useFields() {
  const [found, setFound] = useState({ fields: known, problem: null });
  async function ask() {
    try {
      asked ??= get("/v1/fields");
      known ??= (await asked).fields.map(exact);
      setFound({ fields: known, problem: null });
    } catch (problem) {
      asked = null;
      setFound({ fields: null, problem });
    }
  }
  useEffect(() => void ask(), []);
  return { ...found, retry: ask };
}

/** A field with no bound beyond the whole numbers that this page can write. */
function exact(field) {
  return field.kind === "integer" ? { ...field, high: Math.min(field.high, Number.MAX_SAFE_INTEGER) } : field;
}

/** A value as people type it, with words for the absence of one. */
export function shown(field, value) {
  return value === null ? nothing(field) : setting(value);
}

/** What null means; `field` is undefined before the monitor has said what there is. */
export function nothing(field) {
  return field?.is_knob ? "as configured" : "none";
}

/** Bounds, in words; "" of a field without. */
export function bounds({ kind, low, high, is_low_allowed: isLowAllowed }) {
  if (low === null) return "";
  return `${kind === "integer" ? "whole, " : ""}${isLowAllowed ? "" : "above "}${low} to ${high}`;
}

/** The value that was typed; throws RangeError, which says what is allowed. */
export function parsed(field, text) {
  const typed = text.trim();
  if (typed === "" && field.is_nullable) return null;
  if (field.kind === "boolean") return typed === "true";
  if (field.kind === "choice") return typed;
  const value = typed === "" ? NaN : Number(typed);
  const isAbove = field.is_low_allowed ? value >= field.low : value > field.low;
  const isWhole = field.kind !== "integer" || Number.isInteger(value);
  if (!isAbove || !(value <= field.high) || !isWhole) {
    const or = field.is_nullable ? `, or empty: ${nothing(field)}` : "";
    throw new RangeError(`must be a number: ${bounds(field)}${or}`);
  }
  return value;
}

/** What acts at the next step: its `value`, and `because` of what that is not as configured. */
export function inForce(run, field) {
  const { settings, acting_overrides: acting } = run;
  if (settings.kill && (field.is_knob || field.name === "mode")) {
    return { value: field.is_knob ? null : "off", because: "the kill" };
  }
  const override = settings.overrides.findLast(
    (one) => acting.includes(one.number) && field.name in one.changes,
  );
  if (override) return { value: override.changes[field.name], because: `override ${override.number}` };
  if (field.name === "mode" && settings.mode !== "off" && run.acting_mode === "off") {
    return { value: "off", because: "overrides that contradict each other" };
  }
  return { value: settings[field.name], because: "" };
}
