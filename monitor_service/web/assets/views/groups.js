// The groups of a step: which of them carry a signal, and what their completions were given.

import { html, useLayoutEffect, useMemo, useState } from "../dom.js";
import { Age, count, figure, NOTHING, percent, plural, rate } from "../format.js";
import { go, link, revise, useTitle } from "../router.js";
import { GroupTable } from "../run/grouptable.js";
import { Heatmap, OUTCOMES, rangeOf, shade } from "../run/heatmap.js";
import { useRun } from "../run/state.js";
import { useStep } from "../run/step.js";

const RANK = Object.keys(OUTCOMES);
const byMean = (one, other) => (one.mean ?? Infinity) - (other.mean ?? Infinity) || one.number - other.number;

/** How the groups may be ordered. */
const ORDERS = {
  outcome: (one, other) => RANK.indexOf(one.outcome) - RANK.indexOf(other.outcome) || byMean(one, other),
  mean: byMean,
  reported: (one, other) => one.number - other.number,
};

export function View({ params: { id, step: text }, query: { order: [asked] = [] } }) {
  const order = asked in ORDERS ? asked : "outcome";
  const { run } = useRun(id);
  const { step, record, problem } = useStep(id, text);
  useTitle(`Step ${text} of ${id}`);
  return html`
    <p class="crumb"><a href=${link(["runs", id])}>${id}</a></p>
    <h1>Groups of step ${/^\d+$/.test(text) ? count(Number(text)) : text}</h1>
    <${Ways} ...${{ id, number: Number(text), newest: run?.step, order: asked }} />
    ${problem && html`<p class="notice" data-kind="problem" role="alert">${problem.message}</p>`}
    ${step &&
    html`
      <div class="step" aria-busy=${step.step !== Number(text)}>
        <${Step} ...${{ step, record, order }} />
      </div>
    `}
  `;
}

/** To the steps beside this one, and to the newest; by the arrow keys too. */
function Ways({ id, number, newest, order }) {
  const to = (step) => link(["runs", id, "steps", step], { order });
  const before = number > 1 ? to(number - 1) : null;
  const after = newest === undefined || number < newest ? to(number + 1) : null;

  useLayoutEffect(() => {
    function press(event) {
      const isTyping = event.target.closest?.("input, select, textarea");
      const way = { ArrowLeft: before, ArrowRight: after }[event.key];
      if (!way || isTyping || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      go(way);
    }
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [before, after]);

  const way = (href, words) =>
    href
      ? html`<a class="button" href=${href}>${words}</a>`
      : html`<span class="button" aria-disabled="true">${words}</span>`;
  return html`
    <nav class="toolbar" aria-label="Steps">
      ${way(before, "← Previous step")} ${way(after, "Next step →")}
      ${newest > 0 && newest !== number && html`<a href=${to(newest)}>Newest: step ${count(newest)}</a>`}
      <span class="hint end keys">← and → turn the steps, ↑ and ↓ the groups</span>
    </nav>
  `;
}

function Step({ step, record, order }) {
  const [chosen, setChosen] = useState(0);
  const [pointed, setPointed] = useState(null);
  const range = useMemo(() => rangeOf(step), [step]);
  const rows = useMemo(
    () => step.groups.map((group, index) => ({ ...group, number: index + 1 })).sort(ORDERS[order]),
    [step, order],
  );
  // Places stay while steps are turned, and the next step may have fewer groups.
  const within = (place) => Math.min(place, rows.length - 1);
  return html`
    <${Outcomes} groups=${step.groups} />
    <${Totals} ...${{ step, record }} />
    <section class="panel groups" aria-labelledby="rewards">
      <div class="toolbar">
        <h2 id="rewards">Rewards</h2>
        <${Scale} range=${range} />
        <label class="end">
          Order by${" "}
          <select value=${order} onChange=${(event) => revise({ order: event.target.value })}>
            <option value="outcome">outcome</option>
            <option value="mean">mean reward</option>
            <option value="reported">as reported</option>
          </select>
        </label>
      </div>
      <div class="beside">
        <${Heatmap} ...${{ rows, range, chosen: within(chosen) }} choose=${setChosen} point=${setPointed} />
        <${Detail} ...${{ group: rows[within(pointed ?? chosen)], range }} />
      </div>
      <${GroupTable} rows=${rows} />
    </section>
  `;
}

/** How many groups there are of each outcome. */
function Outcomes({ groups }) {
  const found = RANK.map((outcome) => [outcome, groups.filter((one) => one.outcome === outcome).length]).filter(
    ([, number]) => number > 0,
  );
  return html`
    <div class="shares" aria-hidden="true">
      ${found.map(([outcome, number]) => html`<span data-outcome=${outcome} style=${{ flexGrow: number }}></span>`)}
    </div>
    <ul class="counts">
      ${found.map(
        ([outcome, number]) => html`
          <li class="outcome" data-outcome=${outcome}>
            <b>${count(number)}</b> ${OUTCOMES[outcome]} <span class="hint">${percent(number / groups.length)}</span>
          </li>
        `,
      )}
    </ul>
  `;
}

function Totals({ step: { attempt, groups }, record }) {
  const scored = groups.reduce((sum, one) => sum + one.scored, 0);
  const figures = [
    ["Groups", count(groups.length)],
    ["Scored completions", count(scored)],
    ...(record ? recorded(record) : []),
    ...(attempt > 1 ? [["Attempt", count(attempt)]] : []),
  ];
  return html`
    <dl class="totals">
      ${figures.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
  `;
}

function recorded({ at_s: atS, collapse, applied }) {
  return [
    ["ACR", rate(collapse.acr)],
    ["Threshold", rate(collapse.threshold)],
    ["Mean reward", figure(collapse.reward_mean)],
    ["Injected", applied ? injected(applied) : "not reported"],
    ["Effective ACR", applied ? rate(applied.effective_acr) : "not reported"],
    ["Reported", html`<${Age} at=${atS} />`],
  ];
}

/** Which groups they are is not reported, but how many. */
function injected({ injected_wrong: wrong, injected_correct: correct, shadow }) {
  if (shadow) return `none, in shadow; would be ${shadow.injected_wrong + shadow.injected_correct}`;
  return wrong + correct ? `${wrong} all wrong, ${correct} all correct` : "none";
}

/** What the colours mean. */
function Scale({ range: [low, high] }) {
  return html`
    <span class="scale">
      ${figure(low)}
      <span class="ramp" aria-hidden="true">
        ${[0, 0.25, 0.5, 0.75, 1].map((place) => html`<i style=${{ background: shade(place, [0, 1]) }}></i>`)}
      </span>
      ${figure(high)}
      <i class="unscored" aria-hidden="true"></i> not scored, or no completion
    </span>
  `;
}

/** The group that the pointer is over, or that was chosen. */
function Detail({ group: { number, outcome, scored, mean, std, rewards, primary }, range }) {
  const list = (values) => html`
    <ol class="values">
      ${values.map((one) =>
        one === null
          ? html`<li><i class="unscored"></i>${NOTHING}</li>`
          : html`<li><i style=${{ background: shade(one, range) }}></i>${figure(one)}</li>`,
      )}
    </ol>
  `;
  return html`
    <div class="detail">
      <h3>Group ${number}</h3>
      <p class="outcome" data-outcome=${outcome}>${OUTCOMES[outcome]}</p>
      <p>
        ${scored ? html`mean <b>${figure(mean)}</b>, standard deviation <b>${figure(std)}</b>; ` : ""}
        ${plural(scored, "completion")} scored
      </p>
      <h4>Reward of each completion</h4>
      ${list(rewards)} ${primary && html`<h4>Accuracy alone</h4> ${list(primary)}`}
    </div>
  `;
}
