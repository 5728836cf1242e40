// What each chart of a run shows, from its bins.

import { bounded, reach, runningMean } from "../chart/running.js";
import { STROKES } from "../chart/strokes.js";
import { count, figure, percent, rate } from "../format.js";

/** Groups by what their rewards say, in the order in which they are stacked; told of rare ones if there are any. */
const OUTCOMES = [
  { name: "all_wrong", label: "all wrong", colour: "wrong" },
  { name: "all_correct", label: "all correct", colour: "correct" },
  { name: "uniform_other", label: "other", colour: "other", isRare: true },
  { name: "mixed", label: "mixed", colour: "mixed" },
  { name: "unscored", label: "unscored", colour: "unscored", isRare: true },
];

/** Columns that the charts are drawn from. */
export const FIELDS = [
  ...OUTCOMES.map(({ name }) => name),
  ...["acr", "acr_smoothed", "acr_effective", "threshold", "reward_mean", "entropy", "kl", "grad_norm"],
  ...["completion_length_mean", "completion_length_max", "truncated_fraction"],
  ...["injected_wrong", "injected_correct"],
];

/** Share of its baseline below which the rule `entropy_collapse` calls entropy collapsed. */
const COLLAPSED_SHARE = 0.3;

/** Groups of which a share is more than chance: as many as the monitor pools the ACR over. */
const POOLED_GROUPS = 64;

const WHOLE_AXIS = [0, 1];
const DASHED = [7, 4];
const DOTTED = [2, 3];
/** What is there to be seen, beneath what is to be read. */
const QUIET = { width: 1, alpha: 0.4 };
const BOLD = { width: 2.25 };
const TALL = 300;
const LOW = 150;

/** What the charts depend on beside the figures themselves. */
export function factsOf(run) {
  return {
    beta: run?.config.beta,
    baseline: run?.baselines.entropy,
    functions: Object.keys(run?.last?.components ?? {}),
  };
}

/**
 * All charts: `outcomes` and those of `figures` are specs as charts.js takes them, with `title` and
 * `unit`; `missing` are the figures that were not reported, and why.
 */
export function specsOf(bins, marks, facts, components) {
  const found = figures(bins, facts, components).map((spec) => ({
    ...{ data: bins, end: bins.length - 1, marks, height: LOW, format: figure, tick: figure },
    ...spec,
    lines: spec.lines.filter(isReported),
  }));
  return {
    outcomes: outcomes(bins, marks),
    figures: found.filter(({ lines }) => lines.length),
    missing: found
      .filter(({ lines }) => !lines.length)
      .map(({ title, otherwise = "not reported" }) => ({ title, why: otherwise })),
  };
}

function outcomes(bins, marks) {
  const { mean, to, size } = bins;
  const line = lines(bins);
  const bare = { colour: "raw", isBare: true };
  const injected = to.map((_, at) => mean.injected_wrong[at] + mean.injected_correct[at]);
  const numPooled = pooled(bins);
  const over = (name) => runningMean(mean[name], numPooled);
  const effective = over("acr_effective");
  return {
    title: "Group outcomes and ACR",
    unit: `share of groups${numPooled > 1 ? `, mean of ${count(numPooled * size)} steps` : ""}`,
    ...{ data: bins, end: bins.length - 1, marks, height: TALL },
    ...{ bounds: WHOLE_AXIS, format: rate, tick: percent },
    lines: [
      line("acr", { ...bare, ...QUIET, label: "ACR of the step" }),
      line("acr_smoothed", { ...bare, ...BOLD, label: "ACR, pooled" }),
      {
        ...bare,
        label: "effective ACR",
        dash: DOTTED,
        mean: effective,
        // Without injection it is the ACR itself.
        drawn: effective.map((value, at) => (injected[at] ? value : null)),
      },
      line("threshold", { ...bare, label: "threshold", colour: "threshold", width: 2, dash: DASHED }),
    ].filter(isReported),
    stack: shares(Object.fromEntries(OUTCOMES.map(({ name }) => [name, over(name)]))),
    injected: injected.some(Boolean) ? injected : undefined,
  };
}

/** Bins whose groups are taken together, for shares that say something. */
function pooled({ mean, length, size }) {
  const numGroups = OUTCOMES.flatMap(({ name }) => mean[name]).reduce((sum, value) => sum + value, 0);
  return bounded(Math.ceil((POOLED_GROUPS * length) / (numGroups * size)), length);
}

function figures(bins, { beta, baseline, functions }, components) {
  const line = lines(bins);
  const num = reach(bins.length);
  const smooth = num > 1 && `mean of ${count(num * bins.size)} steps`;
  const one = (name, label) => {
    const raw = line(name, { label, colour: "raw" });
    if (!smooth) return [raw];
    const mean = runningMean(raw.mean, num);
    return [{ ...raw, ...QUIET }, { ...BOLD, label: smooth, colour: "raw", mean }];
  };
  return [
    {
      title: "Reward",
      unit: rewardUnit(functions, bins, components, smooth),
      lines: [
        ...one("reward_mean", "mean reward"),
        ...(components?.names ?? []).map((name, at) => ({
          ...STROKES[at + 1],
          label: name,
          mean: runningMean(components.of[name], num),
        })),
      ],
      otherwise: "no completion was scored",
    },
    {
      title: "Entropy",
      unit: "nats per token",
      lines: one("entropy", "entropy"),
      levels: entropyLevels(baseline),
    },
    {
      title: "KL to the reference",
      unit: "nats per token",
      lines: one("kl", "KL"),
      otherwise: beta === 0 ? "beta is 0, so there is no reference model" : undefined,
    },
    { title: "Gradient norm", lines: one("grad_norm", "gradient norm") },
    {
      title: "Completion length",
      unit: "tokens",
      lines: [
        ...one("completion_length_mean", "mean"),
        line("completion_length_max", { label: "longest", colour: "muted", dash: DOTTED, isBare: true }),
      ],
    },
    {
      title: "Truncated completions",
      unit: "share",
      lines: one("truncated_fraction", "cut at the limit"),
      ...{ bounds: WHOLE_AXIS, format: percent, tick: percent },
    },
  ];
}

function lines({ size, mean, low, high }) {
  return (name, options) => ({
    mean: mean[name],
    // Bounds of a single step are its value.
    ...(size > 1 ? { low: low[name], high: high[name] } : {}),
    ...options,
  });
}

function isReported({ mean }) {
  return mean.some((value) => value !== null);
}

function shares(mean) {
  const total = mean.mixed.map((_, at) =>
    OUTCOMES.reduce((sum, { name }) => sum + (mean[name][at] ?? 0), 0),
  );
  return OUTCOMES.filter(({ name, isRare }) => !isRare || mean[name].some(Boolean)).map(
    ({ name, label, colour }) => ({
      ...{ label, colour },
      share: mean[name].map((value, at) => (total[at] ? (value ?? 0) / total[at] : 0)),
    }),
  );
}

function entropyLevels(baseline) {
  if (baseline === undefined || baseline === null) return [];
  return [
    { label: "own baseline", value: baseline, colour: "muted", dash: DASHED },
    {
      label: `collapsed below (${COLLAPSED_SHARE} × baseline)`,
      value: COLLAPSED_SHARE * baseline,
      colour: "wrong",
      dash: DOTTED,
    },
  ];
}

/** What a reward is made of, from which step on that is known, and how it is drawn. */
function rewardUnit(functions, bins, components, smooth) {
  const mean = "mean over completions";
  if (functions.length === 1) return `${mean}, ${functions[0]}`;
  if (!components) return mean;
  const since = components.from > bins.from[0] ? ` from step ${count(components.from)} on` : "";
  return [`${mean}, and of each function${since}`, smooth && `that as ${smooth}`].filter(Boolean).join("; ");
}
