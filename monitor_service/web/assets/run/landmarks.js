// What happened on the way: events that a chart marks, and the alarms there were.

import { get, runPath } from "../api.js";
import { useEffect, useState } from "../dom.js";

/** Of how many events, the newest. */
const MOST = 300;

/** Events that are marked, by the kind of mark; see chart/glyph.js. */
const MARKS = {
  settings_changed: "change",
  override_added: "change",
  override_ended: "change",
  override_expired: "change",
  killed: "kill",
  rearmed: "kill",
  alarm_raised: "alarm",
  resumed: "resumed",
};
const KINDS = [...Object.keys(MARKS), "alarm_updated", "alarm_resolved"];
const RANK = ["critical", "warning", "info"];

/** The newest events of a run that matter here (EventView), oldest first; null before they are there. */
export function useLandmarks(id, news) {
  const [events, setEvents] = useState(null);
  useEffect(() => {
    let asking = new AbortController();
    /** Those that came since the others were asked for. */
    let since = [];

    async function load() {
      asking.abort();
      const { signal } = (asking = new AbortController());
      since = [];
      try {
        const page = await get(runPath(id, "events"), { kind: KINDS, limit: MOST }, { signal });
        const known = new Set(page.events.map((one) => one.id));
        setEvents([...page.events.reverse(), ...since.filter((one) => !known.has(one.id))]);
      } catch {
        // The log of events has a place of its own, which tells of problems; here marks are missing.
      }
    }

    const leave = news.subscribe((kind, data) => {
      if (kind === "run") load();
      if (kind !== "event" || !KINDS.includes(data.event.kind)) return;
      since.push(data);
      setEvents((events) => events && [...events, data].slice(-MOST));
    });
    return () => {
      leave();
      asking.abort();
    };
  }, [id, news]);
  return events;
}

/** Marks of a chart. */
export function marksOf(events) {
  return events
    .filter(({ event }) => event.kind in MARKS)
    .map(({ event }) => ({ step: event.step, kind: MARKS[event.kind], text: event.message }));
}

/**
 * Alarms, in the order in which they were raised: `{rule, severity, since, raised, until, message}`,
 * `severity` the worst there was, `until` null while it stands.
 */
export function episodesOf(events) {
  let episodes = [];
  for (const { event } of events) {
    const { rule, severity, since_step: since } = event.data;
    const open = episodes.find((one) => one.rule === rule && one.until === null);
    if (event.kind === "alarm_raised") {
      episodes.push({ rule, severity, since, raised: event.step, until: null, message: event.message });
    } else if (event.kind === "alarm_updated" && open) {
      if (RANK.indexOf(severity) < RANK.indexOf(open.severity)) open.severity = severity;
      open.message = event.message;
    } else if (event.kind === "alarm_resolved" && open) {
      open.until = event.step;
    } else if (event.kind === "resumed") {
      // The run has gone back, and stands as it stood then.
      const { step, data } = event;
      episodes = episodes.filter(({ raised }) => raised <= step);
      for (const one of episodes) {
        if (one.until === null || one.until > step) one.until = data.alarms.includes(one.rule) ? null : step;
      }
    }
  }
  return episodes;
}
