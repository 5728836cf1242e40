// Figures of a run's steps in bins: least, mean and greatest of each, and more as steps come.

export class Bins {
  /** `answer` is a StepBins: the history as it was when that was asked for. */
  constructor(answer) {
    const { step, ...mean } = answer.columns;
    this.size = answer.steps_per_bin;
    this.total = answer.total;
    /** First and last step of each bin. */
    this.from = answer.low.step;
    this.to = step;
    /** By the names of the columns; null where no step of a bin has the figure. */
    this.mean = mean;
    this.low = answer.low;
    this.high = answer.high;
    /** The newest bin, as far as steps were added: [sum, number of steps that have it] by name. */
    this.open = null;
  }

  get length() {
    return this.to.length;
  }

  get lastStep() {
    return this.to.at(-1) ?? 0;
  }

  /** Add the step that follows; `row` has its figures by the names of the columns. */
  add(step, row) {
    const { from, to, mean, low, high } = this;
    this.total += 1;
    if (!this.open || this.open.count === this.size) {
      this.open = { count: 0, sums: {} };
      from.push(step);
      to.push(step);
      for (const name of Object.keys(mean)) {
        for (const column of [mean[name], low[name], high[name]]) column.push(null);
        this.open.sums[name] = [0, 0];
      }
    }
    const last = to.length - 1;
    this.open.count += 1;
    to[last] = step;
    for (const [name, sum] of Object.entries(this.open.sums)) {
      const value = row[name];
      if (value === null || value === undefined) continue;
      sum[0] += value;
      sum[1] += 1;
      mean[name][last] = sum[0] / sum[1];
      low[name][last] = sum[1] === 1 ? value : Math.min(low[name][last], value);
      high[name][last] = sum[1] === 1 ? value : Math.max(high[name][last], value);
    }
  }
}

/** The figures of a step, by the names of the columns, out of the record of that step. */
export function rowOf({ collapse, scalars, applied, settings_version }) {
  return {
    ...scalars,
    ...collapse,
    settings_version,
    acr_effective: applied?.effective_acr,
    injected_wrong: applied?.injected_wrong,
    injected_correct: applied?.injected_correct,
    applied_version: applied?.settings_version,
  };
}
