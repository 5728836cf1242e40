// A chart in words, for who does not see it.

import { count, NOTHING, percent } from "../format.js";

/** The steps of a bin: "step 12", or "steps 12 to 15". */
export function steps({ from, to }, at) {
  if (at < 0 || at >= to.length) return "no steps";
  if (from[at] === to[at]) return `step ${count(to[at])}`;
  return `steps ${count(from[at])} to ${count(to[at])}`;
}

/** What a line says of a bin: its mean, and the bounds of its band if they differ. */
export function value({ mean, low, high, format }, at, otherwise) {
  const form = format ?? otherwise;
  const [middle, least, most] = [mean, low, high].map((values) => values?.[at] ?? null);
  if (middle === null) return NOTHING;
  const bounds = least === null ? [] : [...new Set([least, most].map(form))];
  return bounds.length > 1 ? `${form(middle)} (${bounds.join(" to ")})` : form(middle);
}

/** All values of a bin, in one sentence. */
export function valuesAt({ stack = [], lines, format }, at) {
  return [
    ...lines.map((line) => `${line.label} ${value(line, at, format)}`),
    ...stack.map(({ label, share }) => `${label} ${percent(share[at])}`),
  ].join(", ");
}

/** The newest value of the first line, and between what it was. */
export function summary(title, { data, lines: [line], format }) {
  if (!line) return title;
  const newest = line.mean.findLastIndex((one) => one !== null && one !== undefined);
  if (newest < 0) return `${title}: no values.`;
  const [least, most] = [
    extreme(line.low ?? line.mean, Math.min),
    extreme(line.high ?? line.mean, Math.max),
  ];
  const form = line.format ?? format;
  return (
    `${line.label} ${form(line.mean[newest])} at ${steps(data, newest)}, ` +
    `between ${form(least)} and ${form(most)} over ${steps({ from: [data.from[0]], to: [data.to.at(-1)] }, 0)}. ` +
    "Arrow keys move over the steps."
  );
}

function extreme(values, pick) {
  return values.reduce((found, one) => (one === null || one === undefined ? found : pick(found ?? one, one)), null);
}
