// The audit trail of a run: what people ordered, and what came of it. One copy for all who look.

import { get, runPath } from "../api.js";
import { useEffect, useMemo } from "../dom.js";
import { count } from "../format.js";
import { signal, useSignal } from "../signal.js";

const PAGE_ORDERS = 50;

/** Events that tell of an order, or of its effect. */
const AUDITED = [
  ...["settings_changed", "override_added", "override_ended"],
  ...["killed", "rearmed", "command_given", "change_applied"],
];

const trails = new WeakMap();

/**
 * The trail of the run that `state` follows: `{orders, next, problem, more, refresh}`.
 *
 * `orders` (OrderView, newest first) is null until they are there; `more()` asks for older ones,
 * where `next` is not null, and `refresh()` for the newest again.
 */
export function useTrail(run, state) {
  const trail = useMemo(() => {
    if (!trails.has(state.news)) trails.set(state.news, new Trail(run.id, state.news));
    return trails.get(state.news);
  }, [run.id, state.news]);
  useEffect(() => trail.join(), [trail]);
  return { ...useSignal(trail.found), more: trail.more, refresh: trail.refresh };
}

/** What came of an order: `[state, words]`, the state being waiting, applied or ignored. */
export function fate({ kind, new: after, applied_step: step, ignored }, run) {
  if (kind === "command_given") {
    if (after.command.number === run.settings.command?.number) return ["waiting", waiting(run)];
    if (step !== null) return ["applied", `taken up @ step ${count(step)}`];
    return ["ignored", "dropped: another command, or a new attempt, came first"];
  }
  if (step === null) return ["waiting", waiting(run)];
  const at = `@ step ${count(step)}`;
  const names = Object.keys(ignored);
  if (!names.length) return ["applied", `applied ${at}`];
  const why = names.map((name) => (name === "settings" ? ignored[name] : `${name}: ${ignored[name]}`)).join("; ");
  // All of them, where the trainer followed none of the settings it held.
  const isWhole = "settings" in ignored || Object.keys(after).every((name) => name in ignored);
  return ["ignored", isWhole ? `ignored ${at}: ${why}` : `applied ${at}, but ignored ${why}`];
}

function waiting({ ended, last }) {
  if (ended !== null) return `the training has ended (${ended}): it acts when that resumes`;
  if (last && !last.applied) return "the trainer does not say what it applies";
  return "waiting for the trainer";
}

class Trail {
  #id;
  #news;
  #numWatchers = 0;
  #stop;
  #isAsking = false;
  #isStale = false;

  constructor(id, news) {
    this.#id = id;
    this.#news = news;
    this.found = signal({ orders: null, next: null, problem: null });
  }

  /** Keep it fresh until the returned function is called. */
  join() {
    this.#numWatchers += 1;
    if (this.#numWatchers === 1) {
      this.#stop = this.#news.subscribe((kind, data) => {
        if (kind === "run" || AUDITED.includes(data.event?.kind)) this.refresh();
      });
      this.refresh();
    }
    return () => {
      this.#numWatchers -= 1;
      if (this.#numWatchers === 0) this.#stop();
    };
  }

  more = async () => {
    const { next } = this.found.value;
    const page = await this.#ask({ before: next });
    const now = this.found.value;
    if (!page || now.next !== next) return;
    this.found.set({ orders: [...now.orders, ...page.orders], next: page.next, problem: null });
  };

  /** Ask for the newest page; whatever comes meanwhile makes it ask once more. */
  refresh = async () => {
    this.#isStale = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    while (this.#isStale) {
      this.#isStale = false;
      const page = await this.#ask({});
      if (page) this.found.set({ ...joined(page, this.found.value), problem: null });
    }
    this.#isAsking = false;
  };

  async #ask(params) {
    try {
      return await get(runPath(this.#id, "settings", "history"), { limit: PAGE_ORDERS, ...params });
    } catch (problem) {
      this.found.set({ ...this.found.value, problem });
      return null;
    }
  }
}

/** The newest page with the older ones that are there already, if nothing is missing between. */
function joined(page, { orders, next }) {
  const oldest = page.orders.at(-1);
  const place = oldest && orders ? orders.findIndex((one) => one.id === oldest.id) : -1;
  if (place < 0 || page.next === null) return page;
  return { orders: [...page.orders, ...orders.slice(place + 1)], next: place + 1 < orders.length ? next : page.next };
}
