// What time it is for the monitor: the clock of this machine may be wrong, and ages would be too.

import { signal, useSignal } from "./signal.js";

/** Clocks that are nearer than that are taken for the same: replies tell whole seconds, and late. */
const SAME_MS = 5000;

let aheadMs = 0;

/** Learn from the date of a response how far the monitor's clock is ahead. */
export function heardDate(date) {
  const foundMs = Date.parse(date) - Date.now();
  if (!Number.isNaN(foundMs)) aheadMs = Math.abs(foundMs) < SAME_MS ? 0 : foundMs;
}

/** Unix time in seconds, by the monitor's clock. */
export function nowS() {
  return (Date.now() + aheadMs) / 1000;
}

const tick = signal(0);
setInterval(() => tick.set(tick.value + 1), 1000);

/** The same, for a component that is drawn anew each second. */
export function useNowS() {
  useSignal(tick);
  return nowS();
}
