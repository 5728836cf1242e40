// Streams of the monitor: server-sent events, read with fetch, since EventSource sends no token.

import { createParser } from "eventsource-parser";
import { opened } from "./api.js";
import { report } from "./connection.js";

const FIRST_RETRY_MS = 1000;
const SLOWEST_RETRY_MS = 15000;
/** The monitor gives a sign of life every 15 s; a connection that is silent for longer is dead. */
const SILENCE_MS = 40000;
/**
 * A tab that nobody looks at lets go of its streams: a browser opens six connections to a host at a
 * time, of all tabs together.
 */
const HIDDEN_MS = 20000;

/**
 * Watch a stream until the returned function is called, or until it cannot be watched any more.
 *
 * Whenever the connection is lost it comes back by itself and goes on after the newest message.
 *
 * @param {string} path `/v1/stream` or `/v1/runs/ID/stream`.
 * @param {object} heard
 * @param {(kind: string, data: object) => void} heard.message each message, in order.
 * @param {(state: "live" | "lost" | "over", problem?: Error) => void} heard.state whenever it
 *   changes; "lost" while it tries again, "over" when trying again would not help.
 */
export function watch(path, { message, state: tell }) {
  const stop = new AbortController();
  const stream = {};
  let lastId;
  let retryMs = FIRST_RETRY_MS;
  let waits = 0;

  function state(name, problem) {
    report(stream, name);
    tell(name, problem);
  }

  async function follow() {
    const connection = new AbortController();
    const abort = () => connection.abort();
    stop.signal.addEventListener("abort", abort);
    const unseen = whenHidden(abort);
    let alarm = setTimeout(abort, SILENCE_MS);
    try {
      const headers = { accept: "text/event-stream" };
      if (lastId) headers["last-event-id"] = lastId;
      const response = await opened(path, { headers, signal: connection.signal });
      state("live");
      waits = 0;
      const parser = createParser({
        onEvent({ event, data, id }) {
          lastId = id || lastId;
          message(event, JSON.parse(data));
        },
        onRetry(ms) {
          retryMs = ms;
        },
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(alarm);
        alarm = setTimeout(abort, SILENCE_MS);
        parser.feed(value);
      }
    } finally {
      clearTimeout(alarm);
      unseen();
      stop.signal.removeEventListener("abort", abort);
    }
  }

  async function followOn() {
    while (!stop.signal.aborted) {
      let problem;
      try {
        await follow();
      } catch (error) {
        problem = error;
      }
      if (stop.signal.aborted) return;
      if (document.hidden) {
        await shown(stop.signal);
        continue;
      }
      if ([401, 403, 404, 409, 422].includes(problem?.status)) {
        state("over", problem);
        return;
      }
      state("lost", problem);
      const pauseMs = Math.min(SLOWEST_RETRY_MS, retryMs * 2 ** Math.min(waits, 4));
      waits += 1;
      await pause(problem?.retryAfterS ? problem.retryAfterS * 1000 : pauseMs, stop.signal);
    }
  }

  followOn();
  return () => {
    stop.abort();
    report(stream, null);
  };
}

/** Call `then` once the tab was hidden for a while; returns the way to stop. */
function whenHidden(then) {
  let timer;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(then, HIDDEN_MS);
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

/** Wait until somebody looks at the tab again, or nobody waits any more. */
function shown(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

/** Wait, but not when nobody waits any more, nor longer than until the machine is online again. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    addEventListener("online", end);
    signal.addEventListener("abort", end);
  });
}
