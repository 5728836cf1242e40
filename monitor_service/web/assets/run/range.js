// Which steps a reader looks at, as the address says it: from=100, to=500.

import { revise } from "../router.js";

const STEP = /^[1-9]\d{0,14}$/;

/** `{from, to}` of a view's query, `to` left out where it is open; null: all steps. */
export function rangeOf({ from: [from] = [], to: [to] = [] }) {
  const [first, last] = [from, to].map((text) => (STEP.test(text) ? Number(text) : null));
  if (first === null && last === null) return null;
  return { from: first ?? 1, ...(last === null ? {} : { to: Math.max(first ?? 1, last) }) };
}

/** Look at other steps; null: at all. */
export function zoom(range) {
  revise({ from: range?.from ?? null, to: range?.to ?? null });
}
