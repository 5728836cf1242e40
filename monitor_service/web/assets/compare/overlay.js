// One figure of several runs in one chart, over the steps of all of them.

import { STROKES } from "../chart/strokes.js";
import { figure, rate } from "../format.js";

const HEIGHT = 220;
const RATE = { bounds: [0, 1], format: rate, tick: rate };

/** What is laid over each other, and how. */
const OVERLAYS = [
  { name: "acr_smoothed", title: "ACR, pooled", ...RATE },
  { name: "acr_effective", title: "Effective ACR", unit: "after injection; no sign of health", ...RATE },
  { name: "reward_mean", title: "Reward", unit: "mean over completions" },
  { name: "entropy", title: "Entropy", unit: "nats per token" },
  { name: "kl", title: "KL to the reference", unit: "nats per token" },
];

/** Specs as charts.js takes them; `compared` are `[place, id, bins]` of the runs that have steps. */
export function overlays(compared) {
  const steps = [...new Set(compared.flatMap(([, , bins]) => bins.columns.step))].sort((a, b) => a - b);
  const at = new Map(steps.map((step, place) => [step, place]));
  return OVERLAYS.map(({ name, ...options }) => ({
    ...{ data: { from: steps, to: steps }, height: HEIGHT, format: figure, tick: figure },
    ...options,
    lines: compared
      .filter(([, , { columns }]) => columns[name].some((value) => value !== null))
      .map(([place, id, { columns }]) => {
        const drawn = steps.map(() => undefined);
        columns.step.forEach((step, index) => (drawn[at.get(step)] = columns[name][index]));
        const end = at.get(columns.step.at(-1));
        return { ...STROKES[place], width: 1.75, label: id, drawn, mean: held(drawn, end), end };
      }),
  })).filter(({ lines }) => lines.length);
}

/** Where a run has no bin that ends at a step, what its bin before says, up to its newest. */
function held(drawn, end) {
  let newest = null;
  return drawn.map((value, at) => {
    if (value !== undefined) newest = value;
    return at > end ? null : newest;
  });
}
