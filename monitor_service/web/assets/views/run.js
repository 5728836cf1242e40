// One run: whether it learns, why not, what is done about it, and the levers to change it.

import { runPath } from "../api.js";
import { html, useMemo, useState } from "../dom.js";
import { Age, count, NOTHING } from "../format.js";
import { link, useTitle } from "../router.js";
import { Events } from "../run/events.js";
import { Figures, Outcomes, useCharts } from "../run/figures.js";
import { useLandmarks } from "../run/landmarks.js";
import { Orders } from "../run/orders.js";
import { Overrides } from "../run/overrides.js";
import { rangeOf } from "../run/range.js";
import { save } from "../run/save.js";
import { Settings } from "../run/settings.js";
import { useRun } from "../run/state.js";
import { Steering } from "../run/steering.js";
import { Headline, Outlook, Verdicts } from "../run/verdict.js";
import { Standing } from "../standing.js";

export function View({ params: { id }, query }) {
  const state = useRun(id);
  const { run, problem, connection } = state;
  const events = useLandmarks(id, state.news);
  const charts = useCharts(id, state, events, rangeOf(query));
  useTitle(id);
  // Charts move with every step; what does not depend on them is left alone.
  const control = useMemo(() => html`<${Control} state=${state} />`, [state]);
  const rest = useMemo(() => html`<${Rest} state=${state} events=${events} />`, [state, events]);
  if (problem) return html`<${Absent} id=${id} problem=${problem} />`;
  if (!run) return html`<h1>${id}</h1><p class="hint">${connection === "lost" ? AWAY : ""}</p>`;
  return html`
    <${Heading} run=${run} />
    <${Headline} run=${run} />
    ${control}
    <div class="run-grid">
      <section aria-labelledby="history">
        <h2 id="history" class="unseen">History</h2>
        <${Outcomes} charts=${charts} />
        <${Figures} charts=${charts} />
      </section>
      ${rest}
    </div>
  `;
}

const AWAY = "The monitor does not answer; trying again.";

function Control({ state }) {
  const { run } = state;
  return html`
    <section class="panel run-control" aria-labelledby="control">
      <h2 id="control" class="unseen">Control</h2>
      <${Steering} run=${run} state=${state} />
      <${Overrides} run=${run} state=${state} />
    </section>
  `;
}

function Rest({ state, events }) {
  const { run, news } = state;
  return html`
    <div class="side">
      <${Section} id="verdict" title="Verdict">
        <${Verdicts} run=${run} events=${events} />
        <${Outlook} run=${run} news=${news} />
      <//>
      <${Section} id="orders" title="Orders"><${Orders} run=${run} state=${state} /><//>
      <${Section} id="events" title="Events"><${Events} run=${run} state=${state} /><//>
      <${Section} id="about" title="About this run"><${About} run=${run} /><//>
    </div>
    <${Section} id="settings" title="Settings"><${Settings} run=${run} state=${state} /><//>
  `;
}

function Heading({ run }) {
  const tags = Object.entries(run.tags);
  return html`
    <div class="run-heading">
      <h1>${run.id}</h1>
      <${Standing} run=${run} />
      <span>step <b>${count(run.step)}</b></span>
      ${run.attempt > 1 && html`<span>attempt ${run.attempt}</span>`}
      <span class="hint">
        last report ${run.last_report_at_s === null ? NOTHING : html`<${Age} at=${run.last_report_at_s} />`}
      </span>
      ${tags.map(([name, value]) => html`<span key=${name} class="chip" title="${name}: ${value}">${name}: ${value}</span>`)}
      <nav class="end" aria-label="Of this run">
        ${run.step > 0 && html`<a href=${link(["runs", run.id, "steps", run.step])}>Groups of the newest step</a>`}
        <a href=${link(["compare"], { run: run.id })}>Compare</a>
      </nav>
    </div>
    <${Notes} text=${run.notes} />
  `;
}

/** What people noted; all of it on demand where it is long. */
function Notes({ text }) {
  if (!text) return null;
  const isShort = text.length < 200 && text.split("\n").length < 4;
  if (isShort) return html`<div class="run-notes"><p>${text}</p></div>`;
  return html`<details class="run-notes"><summary>${text.slice(0, 100)} …</summary><p>${text}</p></details>`;
}

function Section({ id, title, children }) {
  return html`<section class="panel" aria-labelledby=${id}><h2 id=${id}>${title}</h2>${children}</section>`;
}

/** What the trainer said of itself, and the whole of the run as files. */
function About({ run }) {
  const config = Object.entries(run.config);
  return html`
    ${config.length > 0
      ? html`
          <dl class="config">
            ${config.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${String(value)}</dd></div>`)}
          </dl>
        `
      : html`<p class="hint">The trainer did not say what it runs with.</p>`}
    <p class="toolbar">
      <${Download} path=${runPath(run.id, "export")} name="${run.id}.jsonl">Export the run<//>
      <${Download} path=${runPath(run.id)} name="${run.id}.json">Its state as JSON<//>
    </p>
  `;
}

function Download({ path, name, children }) {
  const [problem, setProblem] = useState(null);
  const [isSaving, setIsSaving] = useState(false);
  const click = async () => {
    setIsSaving(true);
    setProblem(null);
    await save(path, name).catch(setProblem);
    setIsSaving(false);
  };
  return html`
    <button class="button" disabled=${isSaving} onClick=${click}>${children}</button>
    ${problem && html`<span class="problem" role="alert">${problem.message}</span>`}
  `;
}

function Absent({ id, problem }) {
  return html`
    <h1>${id}</h1>
    <p class="notice" data-kind="problem" role="alert">${problem.message}</p>
    <p><a href="#/">All runs</a></p>
  `;
}
