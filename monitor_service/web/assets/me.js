// Who the reader is to the monitor, and what they may do.

import { forgetToken, get, isLockedOut, keepToken, token } from "./api.js";
import { signal, useSignal } from "./signal.js";

const RETRY_MS = 3000;

/** {name, scopes, runs, is_token_needed} of `GET /v1/me`; null while that is not known. */
export const me = signal(null);

/** Why it is not known: a Problem, or null; not that a token is needed, but that it is wrong. */
export const obstacle = signal(null);

/** Whether the reader may "read", "report" or "control"; who controls may read. */
export function can(scope) {
  const scopes = me.value?.scopes ?? [];
  return scopes.includes(scope) || (scope === "read" && scopes.includes("control"));
}

/** The same, for a component that is drawn anew when it changes. */
export function useCan(scope) {
  useSignal(me);
  return can(scope);
}

/** Be somebody else from now on: who has this token; "" forgets the one there is. */
export function become(text) {
  me.set(null);
  if (text) keepToken(text);
  else forgetToken();
  obstacle.set(null);
  return ask();
}

let newest = 0;
let retry;

/** Ask who the reader is, again and again until the monitor has an answer. */
export async function ask() {
  clearTimeout(retry);
  const mine = ++newest;
  try {
    const found = await get("/v1/me");
    if (mine !== newest) return;
    obstacle.set(null);
    me.set(found);
  } catch (problem) {
    if (mine !== newest) return;
    if (problem.status !== 401) {
      obstacle.set(problem);
      retry = setTimeout(ask, RETRY_MS);
    } else if (token.value) {
      obstacle.set(problem);
      forgetToken();
    }
  }
}

isLockedOut.watch((isOut) => {
  if (!isOut || !me.value) return;
  me.set(null);
  ask();
});
