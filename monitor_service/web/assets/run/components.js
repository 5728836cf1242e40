// Means of the reward functions over the shown steps, from the records of the newest of them.

import { get, runPath } from "../api.js";
import { useEffect, useMemo, useRef, useState } from "../dom.js";

/** Steps whose records are asked for; a record is a hundred times what a figure is. */
const MOST_STEPS = 500;
const MOST_FUNCTIONS = 6;

/**
 * `{names, of, from}`: the functions that the newest step reported, by `of[name]` a mean for each
 * bin, null where it is not known, and the first step of which it is. Null with fewer than two
 * functions: then the reward says it all.
 */
export function useComponents(id, run, bins, version, news) {
  const names = useMemo(
    () => Object.keys(run?.last?.components ?? {}).slice(0, MOST_FUNCTIONS),
    [Object.keys(run?.last?.components ?? {}).join("\n")],
  );
  const isWanted = names.length > 1 && bins !== null && bins.length > 0;
  const records = useRef([]);
  const [numLoads, setNumLoads] = useState(0);

  useEffect(() => {
    if (!isWanted) return undefined;
    const asking = new AbortController();
    const last = bins.lastStep;
    const from = Math.max(bins.from[0], last - MOST_STEPS + 1);
    records.current = [];
    get(runPath(id, "steps"), { from, to: last, limit: MOST_STEPS }, asking).then(
      ({ steps }) => {
        records.current = [...steps, ...records.current];
        setNumLoads((before) => before + 1);
      },
      () => {},
    );
    const leave = news.subscribe((kind, data) => {
      if (kind === "step" && data.step > last) records.current.push(data);
    });
    return () => {
      asking.abort();
      leave();
    };
  }, [isWanted, bins, news, id]);

  return useMemo(() => {
    if (!isWanted || !records.current.length) return null;
    return { names, of: folded(names, records.current, bins), from: records.current[0].step };
  }, [isWanted, names, bins, version, numLoads]);
}

function folded(names, records, { from, to }) {
  const of = Object.fromEntries(names.map((name) => [name, to.map(() => null)]));
  let at = 0;
  let next = 0;
  while (at < to.length && next < records.length) {
    const own = [];
    for (; next < records.length && records[next].step <= to[at]; next += 1) {
      if (records[next].step >= from[at]) own.push(records[next]);
    }
    for (const name of names) of[name][at] = mean(own.map((one) => one.components[name]?.mean));
    at += 1;
  }
  return of;
}

function mean(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
