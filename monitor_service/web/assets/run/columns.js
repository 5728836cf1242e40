// The history of a run as it is drawn: in bins, over all steps or a range of them, and kept up.

import { get, runPath } from "../api.js";
import { useEffect, useMemo, useState } from "../dom.js";
import { Bins, rowOf } from "./bins.js";

/** One for about every other pixel. */
const MOST_BINS = 600;
const FEWEST_BINS = 150;
/** Bins beyond what was asked for, as a factor, from which coarser ones are asked for. */
const GROWTH = 1.5;
const RETRY_MS = 5000;
/** Charts are drawn at most this often, however fast steps come. */
const DRAW_MS = 150;

/**
 * Columns of a run, from its history and then from the steps that `news` tell of.
 *
 * @param {string} id
 * @param {object} news of useRun.
 * @param {string[]} fields names of columns; always the same ones.
 * @param {{from: number, to: number} | null} range steps to look at; null: all, the coming ones too.
 * @returns {{bins: Bins | null, version: number, problem: Error | null}} `bins` is one object that
 *   grows, `version` says when it did.
 */
export function useColumns(id, news, fields, range) {
  const [seen, setSeen] = useState(NOTHING);
  const loader = useMemo(() => new Loader(id, fields, setSeen), [id, fields]);
  useEffect(() => loader.begin(news), [loader, news]);
  useEffect(() => loader.look(range), [loader, range?.from, range?.to]);
  return seen;
}

const NOTHING = { bins: null, version: 0, problem: null };

class Loader {
  #id;
  #fields;
  #setSeen;
  #range = null;
  #bins = null;
  #version = 0;
  #isBegun = false;
  /** Steps that came while the history was on its way. */
  #waiting = null;
  #asking = new AbortController();
  #drawing;
  #drawnAtMs = -Infinity;
  #retry;

  constructor(id, fields, setSeen) {
    this.#id = id;
    this.#fields = fields.join(",");
    this.#setSeen = setSeen;
  }

  begin(news) {
    this.#setSeen(NOTHING);
    const leave = news.subscribe((kind, data) => this.#hear(kind, data));
    return () => {
      leave();
      this.#asking.abort();
      clearTimeout(this.#drawing);
      clearTimeout(this.#retry);
    };
  }

  look(range) {
    this.#range = range;
    if (this.#isBegun) this.#load();
  }

  #hear(kind, data) {
    // What is asked for after the stream has begun, and what the stream tells, leave no gap.
    const isBeginning = kind === "run";
    const isRewritten = kind === "event" && data.event.kind === "resumed";
    if (isBeginning || isRewritten) this.#load();
    if (kind === "step") {
      if (this.#waiting) this.#waiting.push(data);
      else this.#add(data);
    }
  }

  async #load() {
    this.#isBegun = true;
    this.#asking.abort();
    clearTimeout(this.#retry);
    const { signal } = (this.#asking = new AbortController());
    this.#waiting = [];
    const bins = wantedBins();
    try {
      const params = { fields: this.#fields, bins, ...this.#range };
      this.#bins = new Bins(await get(runPath(this.#id, "steps"), params, { signal }));
      const waiting = this.#waiting;
      this.#waiting = null;
      for (const record of waiting) this.#add(record);
      this.#show(null);
    } catch (problem) {
      if (signal.aborted) return;
      this.#show(problem);
      const { retryAfterS } = problem;
      this.#retry = setTimeout(() => this.#load(), retryAfterS ? retryAfterS * 1000 : RETRY_MS);
    }
  }

  #add(record) {
    const bins = this.#bins;
    if (!bins || record.step <= bins.lastStep || record.step > (this.#range?.to ?? Infinity)) return;
    bins.add(record.step, rowOf(record));
    if (bins.length > GROWTH * wantedBins()) this.#load();
    else this.#show(null);
  }

  #show(problem) {
    clearTimeout(this.#drawing);
    const restMs = this.#drawnAtMs + DRAW_MS - performance.now();
    this.#drawing = setTimeout(() => {
      this.#drawnAtMs = performance.now();
      this.#version += 1;
      this.#setSeen({ bins: this.#bins, version: this.#version, problem });
    }, restMs);
  }
}

function wantedBins() {
  return Math.min(MOST_BINS, Math.max(FEWEST_BINS, Math.round(innerWidth / 2)));
}
