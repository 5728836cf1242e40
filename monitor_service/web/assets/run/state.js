// A run that is on the screen: loaded once, then followed.

import { get, runPath } from "../api.js";
import { useEffect, useMemo, useState } from "../dom.js";
import { watch } from "../live.js";

/** News come with every step; the run as a whole (verdicts, counters) at most this often. */
const REFRESH_MS = 1000;
/** A run that fell silent sends no news of it. */
const QUIET_REFRESH_MS = 30000;
/** Answers that asking again would not change. */
const FINAL = [401, 403, 404, 409];

const UNKNOWN = { run: null, problem: null, connection: null };

/**
 * Follow a run for as long as a component shows it; the same object while nothing is new.
 *
 * - `run`: the newest Run there is; null before the first.
 * - `problem`: why it cannot be had, or not any more; null when all is well.
 * - `connection`: "live", "lost" while it tries again, "over" when that would not help; null at first.
 * - `reload()`: ask for the run now, such as after an order; resolves when `run` is what came.
 * - `news.subscribe(heard)`: from then on `heard(kind, data)` gets each message of the stream: run,
 *   step, event, settings, reset, gone. Returns the way to stop.
 */
export function useRun(id) {
  const [seen, setSeen] = useState(UNKNOWN);
  const follower = useMemo(() => new Follower(id, setSeen), [id]);
  useEffect(() => follower.begin(), [follower]);
  const { reload, news } = follower;
  return useMemo(() => ({ ...seen, reload, news }), [seen, follower]);
}

class Follower {
  #id;
  #show;
  #listeners = new Set();
  #following = null;
  #asked = Promise.resolve();
  #timer;
  #isDue = false;
  #isLost = false;

  constructor(id, setSeen) {
    this.#id = id;
    this.#show = (changes) => this.#following && setSeen((seen) => ({ ...seen, ...changes }));
    this.news = {
      subscribe: (heard) => {
        this.#listeners.add(heard);
        return () => this.#listeners.delete(heard);
      },
    };
  }

  begin() {
    const following = (this.#following = new AbortController());
    this.#show(UNKNOWN);
    const stop = watch(runPath(this.#id, "stream"), { message: this.#hear, state: this.#connect });
    return () => {
      this.#following = null;
      following.abort();
      stop();
      clearTimeout(this.#timer);
    };
  }

  /** One after the other, so that what comes last is the newest. */
  reload = () => (this.#asked = this.#asked.then(() => this.#ask()));

  async #ask() {
    const following = this.#following;
    if (!following) return;
    this.#askIn(QUIET_REFRESH_MS);
    try {
      const run = await get(runPath(this.#id), {}, { signal: following.signal });
      this.#show({ run, problem: null });
    } catch (problem) {
      if (FINAL.includes(problem.status)) this.#show({ problem });
    }
  }

  #askIn(ms) {
    clearTimeout(this.#timer);
    this.#isDue = ms === REFRESH_MS;
    this.#timer = setTimeout(this.reload, ms);
  }

  #hear = (kind, data) => {
    if (kind === "run") this.#show({ run: data, problem: null });
    if (kind === "gone") this.reload();
    else if (!this.#isDue) this.#askIn(REFRESH_MS);
    for (const heard of [...this.#listeners]) heard(kind, data);
  };

  #connect = (connection, problem) => {
    // A stream that goes on where it broke does not show the run again.
    if (connection === "live" && this.#isLost) this.reload();
    this.#isLost = connection === "lost";
    this.#show(connection === "over" ? { connection, problem } : { connection });
  };
}
