// Work on many things by name: a few at a time, and none of them more often than it is worth.

const AT_ONCE = 3;
const EVERY_MS = 4000;

/** `work(name, signal)` is done for whoever is asked for, soon; `stop` ends it all. */
export function queue(work) {
  const waiting = new Set();
  const doneAt = new Map();
  const stopping = new AbortController();
  let numAtWork = 0;
  let timer;

  async function start(name) {
    waiting.delete(name);
    doneAt.set(name, Infinity);
    numAtWork += 1;
    await work(name, stopping.signal);
    numAtWork -= 1;
    doneAt.set(name, performance.now());
    next();
  }

  function next() {
    clearTimeout(timer);
    if (stopping.signal.aborted) return;
    let soonestMs = Infinity;
    for (const name of waiting) {
      const restMs = (doneAt.get(name) ?? -Infinity) + EVERY_MS - performance.now();
      if (restMs > 0) soonestMs = Math.min(soonestMs, restMs);
      else if (numAtWork < AT_ONCE) start(name);
    }
    if (soonestMs < Infinity) timer = setTimeout(next, soonestMs);
  }

  return {
    add(name) {
      waiting.add(name);
      next();
    },
    drop(name) {
      waiting.delete(name);
    },
    stop() {
      stopping.abort();
      clearTimeout(timer);
    },
  };
}
