// How the streams that are open do, as one: what the header shows and a screen reader is told.

import { signal } from "./signal.js";

/** "live", "lost" while one of them is, "over" when one will not come back; null without any. */
export const connection = signal(null);

const states = new Map();

/** A stream says how it does; null when it is no more. */
export function report(stream, state) {
  if (state === null) states.delete(stream);
  else states.set(stream, state);
  const all = [...states.values()];
  connection.set(["lost", "over", "live"].find((one) => all.includes(one)) ?? null);
}
