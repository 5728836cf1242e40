// Running means: what a noisy figure does on the whole.

/** Of fewer points a reader makes sense without help. */
const FEW = 100;
/** Part of what is in view that a mean is made of. */
const PART = 40;

/** Points that a mean of so many is made of: a fortieth; 1 where there are few. */
export function reach(length) {
  return length > FEW ? Math.round(length / PART) : 1;
}

/** At most that, whatever is wanted: forty means that have no point in common remain in view. */
export function bounded(wanted, length) {
  return Math.max(1, Math.min(wanted, Math.floor(length / PART)));
}

/** The mean of each value and of those before it, `num` in all; null where a value is missing. */
export function runningMean(values, num) {
  if (num === 1) return values;
  return values.map((value, at) => {
    if (value === null) return null;
    let sum = 0;
    let known = 0;
    for (let place = Math.max(0, at - num + 1); place <= at; place += 1) {
      if (values[place] === null) continue;
      sum += values[place];
      known += 1;
    }
    return sum / known;
  });
}
