// The runs that a reader looks at: loaded a page at a time, then kept as they move.

import { get, runPath } from "../api.js";
import { useEffect, useMemo, useState } from "../dom.js";
import { watch } from "../live.js";
import { standing } from "../standing.js";
import { queue } from "./queue.js";

const PAGE_RUNS = 100;
const SPARK_STEPS = 60;
/** Messages come in bursts; the rows are drawn once for each. */
const DRAW_MS = 100;
const REFRESH_MS = 2000;
const SPARK = { fields: "acr,acr_smoothed", last: SPARK_STEPS };

/** The newest listing, so that who comes back from a run finds the list as they left it. */
let kept = null;

/**
 * Runs with `q` in their id, in this `state`, with these tags: as long as a component shows them.
 *
 * - `rows`: newest first, {run, steps, isStale} with the columns of its newest steps; null before the
 *   first answer. While `isCurrent` is false they are those of the search before.
 * - `total`: how many there are on all pages; `hasMore`: whether some are not loaded.
 * - `problem`: why there is no newer answer; null when all is well.
 * - `more()`: load the next page; `refresh()`: ask again.
 * - `look(id)`, `lookAway(id)`: a row that is looked at is brought up to date.
 */
export function useListing({ q, state, tag }) {
  const key = JSON.stringify([q, state, tag]);
  const [, draw] = useState(0);
  const listing = useMemo(() => {
    if (kept?.key !== key) kept = { key, ...listed({ q, state, tag }, kept?.state()) };
    return kept;
  }, [key]);
  useEffect(() => listing.follow(() => draw((number) => number + 1)), [listing]);
  return { ...listing.state(), ...listing };
}

function listed(filters, before) {
  /** By id, in the order of the monitor: the newest first. */
  let rows = new Map();
  let total = 0;
  let nextAfter = null;
  let problem = null;
  /** Runs that moved and are not of this list, and how they stood then. */
  const others = new Map();
  let shown = null;
  let tell = () => {};
  let drawing;
  let refreshing;
  let asking;
  let fresh;

  function draw() {
    drawing ??= setTimeout(() => {
      drawing = undefined;
      const all = [...rows.values()];
      shown = filters.state ? all.filter(({ run }) => standing(run) === filters.state) : all;
      tell();
    }, shown ? DRAW_MS : 0);
  }

  /** The first page anew, or the one that comes `after` what is loaded. */
  async function load(after, signal) {
    try {
      const page = await get("/v1/runs", { limit: PAGE_RUNS, after, ...filters }, { signal });
      take(page, after);
      problem = null;
      draw();
    } catch (failure) {
      if (signal?.aborted) return;
      problem = failure;
      tell();
    }
  }

  /** The page as it is now; what was loaded beyond it stays, and may have moved. */
  function take(page, after) {
    const found = new Set(page.runs.map((run) => run.id));
    const last = page.runs.at(-1);
    const rest = [...rows.values()].filter(({ run }) => !found.has(run.id));
    const isTail = ({ run }) => page.next_after !== null && isOlder(run, last);
    const tail = rest.filter(isTail).map((row) => ({ ...row, isStale: true }));
    const newer = after === undefined ? [] : rest.filter((row) => !isTail(row));
    const fetched = page.runs.map((run) => ({ run, steps: rows.get(run.id)?.steps, isStale: true }));
    rows = new Map([...newer, ...fetched, ...tail].map((row) => [row.run.id, row]));
    if (!tail.length) nextAfter = page.next_after;
    total = page.total;
  }

  function refresh() {
    clearTimeout(refreshing);
    refreshing = undefined;
    asking?.abort();
    asking = new AbortController();
    return load(undefined, asking.signal);
  }

  function refreshSoon() {
    refreshing ??= setTimeout(refresh, REFRESH_MS);
  }

  function moved(glance) {
    const row = rows.get(glance.run_id);
    if (!row) {
      const stood = [glance.ended, glance.verdict, glance.attempt].join();
      if (others.get(glance.run_id) !== stood) refreshSoon();
      others.set(glance.run_id, stood);
    } else if (hasMoved(row.run, glance)) {
      rows.set(glance.run_id, { ...row, run: moving(row.run, glance), isStale: true });
      draw();
    }
  }

  function gone({ run_id: id }) {
    if (filters.state === "deleted") refreshSoon();
    else if (rows.delete(id)) {
      total -= 1;
      draw();
    }
  }

  async function update(id, signal) {
    const before = rows.get(id);
    // What was deleted does not move, and is not told step by step.
    if (!before || before.run.deleted) return;
    try {
      const [run, steps] = await Promise.all([
        get(runPath(id), {}, { signal }),
        get(runPath(id, "steps"), SPARK, { signal }),
      ]);
      const now = rows.get(id);
      if (now) rows.set(id, { run, steps: steps.columns, isStale: now !== before });
    } catch (failure) {
      if ([404, 409].includes(failure.status)) gone({ run_id: id });
      return;
    }
    draw();
  }

  return {
    state: () => ({
      rows: shown ?? before?.rows ?? null,
      isCurrent: shown !== null,
      total,
      problem,
      hasMore: nextAfter !== null,
    }),
    more: () => load(nextAfter),
    refresh,
    look: (id) => fresh?.add(id),
    lookAway: (id) => fresh?.drop(id),
    follow(told) {
      tell = told;
      fresh = queue(update);
      refresh();
      let isBack = false;
      const stop = watch("/v1/stream", {
        message: (kind, data) => (kind === "moved" ? moved(data) : gone(data)),
        state: (state) => {
          if (state !== "live") return;
          // Nothing tells what moved while nobody listened.
          if (isBack) refresh();
          isBack = true;
        },
      });
      return () => {
        stop();
        fresh.stop();
        asking?.abort();
        clearTimeout(refreshing);
        refreshing = undefined;
        tell = () => {};
      };
    },
  };
}

function isOlder(run, than) {
  if (run.created_at_s !== than.created_at_s) return run.created_at_s < than.created_at_s;
  return run.id < than.id;
}

function hasMoved(run, glance) {
  return (
    run.step !== glance.step ||
    run.attempt !== glance.attempt ||
    run.ended !== glance.ended ||
    (run.last?.collapse.acr ?? null) !== glance.acr ||
    (run.verdicts[0]?.rule ?? null) !== glance.verdict
  );
}

/** The run, as far as a glance tells; the rest follows when somebody looks. */
function moving(run, { step, attempt, ended, acr, verdict, severity }) {
  const isWorst = (one) => one.rule === verdict && one.severity === severity;
  const verdicts = verdict ? [run.verdicts.find(isWorst) ?? { rule: verdict, severity }] : [];
  const last = run.last && { ...run.last, collapse: { ...run.last.collapse, acr } };
  return { ...run, step, attempt, ended, verdicts, last };
}
