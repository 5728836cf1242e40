// One figure of several runs in one chart, over the steps of all of them.

import { reach, runningMean } from "../chart/running.js";
import { STROKES } from "../chart/strokes.js";
import { figure, rate } from "../format.js";

const HEIGHT = 220;
const MEAN = "running mean over a fortieth of the steps";
const RATE = { bounds: [0, 1], format: rate, tick: rate };

/** What is laid over each other, and how. */
const OVERLAYS = [
  { name: "acr_smoothed", title: "ACR, pooled", isSmooth: true, ...RATE },
  { name: "acr_effective", title: "Effective ACR", unit: "after injection; no sign of health", ...RATE },
  { name: "reward_mean", title: "Reward", unit: "mean over completions" },
  { name: "entropy", title: "Entropy", unit: "nats per token" },
  { name: "kl", title: "KL to the reference", unit: "nats per token" },
];

/** Specs as charts.js takes them; `compared` are `[place, id, bins]` of the runs that have steps. */
export function overlays(compared) {
  const steps = [...new Set(compared.flatMap(([, , bins]) => bins.columns.step))].sort((a, b) => a - b);
  const at = new Map(steps.map((step, place) => [step, place]));
  return OVERLAYS.map(({ name, unit, isSmooth, ...options }) => {
    let isMean = false;
    const lines = compared
      .filter(([, , { columns }]) => columns[name].some((value) => value !== null))
      .map(([place, id, { columns }]) => {
        const num = isSmooth ? 1 : reach(columns.step.length);
        isMean ||= num > 1;
        const values = runningMean(columns[name], num);
        const drawn = steps.map(() => undefined);
        columns.step.forEach((step, index) => (drawn[at.get(step)] = values[index]));
        const end = at.get(columns.step.at(-1));
        return { ...STROKES[place], width: 1.75, label: id, drawn, mean: held(drawn, end), end };
      });
    return {
      ...{ data: { from: steps, to: steps }, end: steps.length - 1, height: HEIGHT },
      ...{ format: figure, tick: figure },
      ...options,
      unit: [unit, isMean && MEAN].filter(Boolean).join("; "),
      lines,
    };
  }).filter(({ lines }) => lines.length);
}

/** Where a run has no bin that ends at a step, what its bin before says, up to its newest. */
function held(drawn, end) {
  let newest = null;
  return drawn.map((value, at) => {
    if (value !== undefined) newest = value;
    return at > end ? null : newest;
  });
}
