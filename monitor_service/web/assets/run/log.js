// The events of a run, as far as they were asked for and came since.

import { get, runPath } from "../api.js";
import { useEffect, useRef, useState } from "../dom.js";

const PAGE_EVENTS = 100;
const NOTHING = { pages: [], next: null, problem: null, isLoading: true };

/**
 * `{pages, next, problem, isLoading, more, retry}`: events (EventView) of these kinds, newest first, in
 * pages that change only where something comes; `more()` asks for older ones where `next` is not
 * null, and `retry()` for all of them anew.
 *
 * @param {string[] | undefined} kinds undefined: all. The same array as long as they are the same.
 */
export function useLog(id, news, kinds) {
  const [log, setLog] = useState(NOTHING);
  const load = useRef();
  useEffect(() => {
    const leaving = new AbortController();
    let waiting = null;

    load.current = async (before) => {
      const params = { limit: PAGE_EVENTS, kind: kinds, before };
      if (!before) waiting = [];
      try {
        const { events, next } = await get(runPath(id, "events"), params, leaving);
        setLog((log) => ({ pages: before ? [...log.pages, events] : [events], next, problem: null }));
        if (!before) setLog((log) => waiting.reduce(withNewest, log));
      } catch (problem) {
        if (!leaving.signal.aborted) setLog((log) => ({ ...log, problem, isLoading: false }));
      }
      if (!before) waiting = null;
    };

    setLog(NOTHING);
    load.current();
    const leave = news.subscribe((kind, data) => {
      if (kind === "run") load.current();
      if (kind !== "event" || (kinds && !kinds.includes(data.event.kind))) return;
      if (waiting) waiting.push(data);
      else setLog((log) => withNewest(log, data));
    });
    return () => {
      leave();
      leaving.abort();
    };
  }, [id, news, kinds]);
  return { ...log, more: () => load.current(log.next), retry: () => load.current() };
}

/** The log with an event on top, unless it is there already. */
function withNewest(log, event) {
  const [first = [], ...others] = log.pages;
  if (!isLater(event, first[0])) return log;
  const isFull = first.length >= PAGE_EVENTS;
  return { ...log, pages: isFull ? [[event], first, ...others] : [[event, ...first], ...others] };
}

/** Ids are times in ms and numbers within one: 1769000000000-0. */
function isLater(event, other) {
  if (!other) return true;
  const [ms, number] = event.id.split("-").map(Number);
  const [otherMs, otherNumber] = other.id.split("-").map(Number);
  return ms > otherMs || (ms === otherMs && number > otherNumber);
}
