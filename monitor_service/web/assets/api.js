// The REST API: requests with the reader's token, and problems as errors.

import { heardDate } from "./clock.js";
import { ofTab } from "./memory.js";
import { signal } from "./signal.js";

const TOKEN = "acr-token";

/** The token that was typed in, for this tab only; "" without one. */
export const token = signal(ofTab.read(TOKEN));

/** Whether the monitor refused the newest request for want of a valid token. */
export const isLockedOut = signal(false);

/** Use this token from now on. */
export function keepToken(text) {
  ofTab.keep(TOKEN, text);
  token.set(text);
  isLockedOut.set(false);
}

export function forgetToken() {
  ofTab.keep(TOKEN, "");
  token.set("");
}

/** An answer that is not what was asked for: `status` 0 when there was none at all. */
export class Problem extends Error {
  constructor(status, about) {
    super(about.detail || about.title || `the monitor answered ${status}`);
    this.name = "Problem";
    this.status = status;
    /** Field at fault, its value and what is allowed; undefined where it is about no field. */
    this.field = about.field;
    this.value = about.value;
    this.allowed = about.allowed;
    /** The settings as they are, in the answer to a change that came too late. */
    this.settings = about.settings;
    this.retryAfterS = about.retryAfterS;
  }
}

/** Ask for a resource; `params` without a value (null, undefined) are left out. */
export async function get(path, params = {}, { signal } = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined) query.append(name, one);
    }
  }
  const asked = query.size ? `${path}?${query}` : path;
  return answer(asked, { signal });
}

/** Order something; resolves to the answer's body, null when there is none. */
export async function send(method, path, body, { ifMatch } = {}) {
  const headers = { "content-type": "application/json" };
  if (ifMatch) headers["if-match"] = ifMatch;
  return answer(path, { method, headers, body: JSON.stringify(body) });
}

/** The path of a run, or of something of it. */
export function runPath(id, ...rest) {
  return ["/v1/runs", encodeURIComponent(id), ...rest].join("/");
}

/** Begin a request; resolves to its response when that is a good one. Raises Problem. */
export async function opened(path, { headers = {}, ...options } = {}) {
  const used = token.value;
  let response;
  try {
    response = await fetch(path, {
      ...options,
      cache: "no-store",
      headers: { ...headers, ...(used ? { authorization: `Bearer ${used}` } : {}) },
    });
  } catch (error) {
    throw lost(error);
  }
  heardDate(response.headers.get("date"));
  if (response.ok) return response;
  if (response.status === 401 && used === token.value) isLockedOut.set(true);
  const about = await response.json().catch(() => ({}));
  const retryAfterS = Number(response.headers.get("retry-after")) || undefined;
  throw new Problem(response.status, { ...about, retryAfterS });
}

async function answer(path, options) {
  const response = await opened(path, options);
  if (response.status === 204) return null;
  return response.json().catch((error) => {
    throw lost(error);
  });
}

/** What to raise for a request that came to nothing; who ended it knows. */
function lost(error) {
  if (error.name === "AbortError") return error;
  return new Problem(0, { detail: "the monitor does not answer" });
}
