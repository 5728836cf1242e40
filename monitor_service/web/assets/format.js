// How figures are written for people.

import { useNowS } from "./clock.js";
import { html } from "./dom.js";

/** What does not exist is not zero. */
export const NOTHING = "–";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** A whole number, such as a step: 12,345. */
export function count(value) {
  return isMissing(value) ? NOTHING : WHOLE.format(value);
}

/** A rate in [0, 1], to two places: 0.43. */
export function rate(value) {
  return isMissing(value) ? NOTHING : value.toFixed(2);
}

/** A share in [0, 1] as a percentage: 43 %, and 0.4 % where a whole number would say nothing. */
export function percent(value) {
  if (isMissing(value)) return NOTHING;
  const hundredths = value * 100;
  return `${hundredths.toFixed(hundredths !== 0 && hundredths < 1 ? 1 : 0)} %`;
}

/** Any other figure, to three digits that count: 1,230, 0.0123, 1.2e-7. */
export function figure(value) {
  if (isMissing(value)) return NOTHING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(1);
  return value.toLocaleString("en", size >= 1000 ? { maximumFractionDigits: 0 } : DIGITS);
}
const DIGITS = { maximumSignificantDigits: 3 };

/** A count with its noun: 1 group, 3 groups. */
export function plural(value, thing) {
  return `${count(value)} ${thing}${value === 1 ? "" : "s"}`;
}

/** A span of time in its largest unit, rounded down: 59 min. */
export function age(seconds) {
  if (isMissing(seconds)) return NOTHING;
  const [unit, lengthS] = UNITS.find(([, length]) => seconds >= length) ?? ["s", 1];
  return `${Math.max(0, Math.floor(seconds / lengthS))} ${unit}`;
}

/** A span of time in its two largest units: 1 h 29 min. */
export function span(seconds) {
  if (isMissing(seconds)) return NOTHING;
  const at = UNITS.findIndex(([, length]) => seconds >= length);
  if (at < 0) return "0 s";
  let rest = Math.floor(seconds);
  const parts = [];
  for (const [unit, lengthS] of UNITS.slice(at, at + 2)) {
    const number = Math.floor(rest / lengthS);
    rest -= number * lengthS;
    if (number) parts.push(`${number} ${unit}`);
  }
  return parts.join(" ");
}

/** A point in time, by the clock and zone of this machine: 2026-05-01 14:03:22. */
export function clock(unixS) {
  if (isMissing(unixS)) return NOTHING;
  const at = new Date(unixS * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
}

/** A setting as people type it. */
export function setting(value) {
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  return String(value);
}

/** How long ago something was, counting on; `at` is Unix time in seconds. */
export function Age({ at }) {
  const nowS = useNowS();
  if (isMissing(at)) return NOTHING;
  const iso = new Date(at * 1000).toISOString();
  return html`<time dateTime=${iso} title=${clock(at)}>${age(nowS - at)} ago</time>`;
}

function isMissing(value) {
  return value === null || value === undefined || Number.isNaN(value);
}
