// Runs side by side, each as it stands, and kept so while they are looked at.

import { get, runPath } from "../api.js";
import { useEffect, useState } from "../dom.js";
import { watch } from "../live.js";
import { queue } from "../runs/queue.js";

const BINS = 300;

/** Columns that are compared. */
export const FIELDS = ["acr_smoothed", "acr_effective", "reward_mean", "entropy", "kl"];

/**
 * By id `{run, bins, end, problem}`: the run, its StepBins of the steps in `range` (null: all), the
 * StepBins of one bin over the newest tenth of those, and why they cannot be had; undefined until
 * the monitor has answered.
 */
export function useCompared(ids, range) {
  const [found, setFound] = useState({});
  const key = JSON.stringify(ids);
  useEffect(() => {
    const keep = (id, what) => setFound((before) => ({ ...before, [id]: what }));
    const work = queue(async (id, signal) => {
      try {
        keep(id, await loaded(id, range, signal));
      } catch (problem) {
        if (!signal.aborted) keep(id, { problem });
      }
    });
    const all = () => ids.forEach(work.add);
    all();
    let wasLost = false;
    const stop = watch("/v1/stream", {
      message(_, { run_id: id }) {
        if (ids.includes(id)) work.add(id);
      },
      state(state) {
        if (state === "live" && wasLost) all();
        wasLost = state === "lost";
      },
    });
    return () => {
      stop();
      work.stop();
    };
  }, [key, range?.from, range?.to]);
  return found;
}

async function loaded(id, range, signal) {
  const run = await get(runPath(id), {}, { signal });
  const binned = (options) =>
    get(runPath(id, "steps"), { fields: FIELDS.join(","), ...options }, { signal });
  const bins = await binned({ bins: BINS, ...range });
  if (!bins.total) return { run, bins, end: null };
  const from = bins.steps_to - Math.ceil(bins.total / 10) + 1;
  return { run, bins, end: await binned({ bins: 1, from, to: bins.steps_to }) };
}
