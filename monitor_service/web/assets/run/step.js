// One step of a run: its groups, and the record of what the trainer did with them.

import { get, runPath } from "../api.js";
import { useEffect, useState } from "../dom.js";

/**
 * `{step, record, problem}`: StepGroups, and the StepRecord; all null before they are there.
 *
 * The record is null as well where it is not kept.
 */
export function useStep(id, number) {
  const [found, setFound] = useState({ step: null, record: null, problem: null });
  useEffect(() => {
    const leaving = new AbortController();
    const path = (...rest) => runPath(id, "steps", encodeURIComponent(number), ...rest);
    Promise.all([get(path("groups"), {}, leaving), get(path(), {}, leaving).catch(() => null)]).then(
      ([step, record]) => setFound({ step, record, problem: null }),
      (problem) => leaving.signal.aborted || setFound({ step: null, record: null, problem }),
    );
    return () => leaving.abort();
  }, [id, number]);
  return found;
}
