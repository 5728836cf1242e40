// Runs beside each other: the same figures in the same charts, and in one table.

import { get } from "../api.js";
import { VerdictBadge } from "../badge.js";
import { Chart } from "../charts.js";
import { STROKES } from "../chart/strokes.js";
import { Stroke } from "../chart/legend.js";
import { overlays } from "../compare/overlay.js";
import { useCompared } from "../compare/runs.js";
import { html, useEffect, useMemo, useRef, useState } from "../dom.js";
import { count, figure, plural, rate } from "../format.js";
import { link, revise, useTitle } from "../router.js";
import { rangeOf, zoom } from "../run/range.js";
import { MOST } from "../runs/chosen.js";
import { signal } from "../signal.js";
import { Standing } from "../standing.js";

/** Figures in the table: means over the newest tenth of the steps. */
const COLUMNS = [
  ["acr_smoothed", "ACR, pooled", rate],
  ["acr_effective", "Effective ACR", rate],
  ["reward_mean", "Reward", figure],
  ["entropy", "Entropy, nats", figure],
  ["kl", "KL, nats", figure],
];

export function View({ query }) {
  const asked = [...new Set(query.run ?? [])];
  const ids = asked.slice(0, MOST);
  const range = rangeOf(query);
  const found = useCompared(ids, range);
  const [cursor] = useState(() => signal(null));
  useTitle("Compare");
  const specs = useMemo(() => {
    const here = ids.map((id, place) => [place, id, found[id]?.bins]);
    return overlays(here.filter(([, , bins]) => bins?.total));
  }, [found, ids.join()]);
  const steps = specs[0]?.data.to.length;
  useEffect(() => cursor.set(null), [steps]);
  const show = (runs) => revise({ run: runs });
  return html`
    <h1>Compare</h1>
    <p class="hint">
      One run of each kind proves nothing: another seed moves these figures, often by more than the runs
      differ here. <code>acr-train compare</code> trains every arm with several seeds and says what is left.
    </p>
    ${asked.length > MOST &&
    html`
      <p class="notice" data-kind="warning">
        ${MOST} runs are compared at most; not here: ${asked.slice(MOST).join(", ")}.
      </p>
    `}
    <${Add} ids=${ids} add=${(id) => show([...ids, id])} />
    ${ids.length > 0 && html`<${Figures} ...${{ ids, found, remove: (id) => show(ids.filter((one) => one !== id)) }} />`}
    ${range && html`<p><button class="button" onClick=${() => zoom(null)}>All steps</button></p>`}
    ${specs.length > 0 && html`<h2 class="unseen">Charts</h2>`}
    <div class="figures compared">
      ${specs.map(
        (spec) => html`
          <div class="panel" key=${spec.title}>
            <${Chart}
              ...${{ title: spec.title, unit: spec.unit, spec, cursor }}
              select=${(from, to) => zoom({ from, to })}
              reset=${range && (() => zoom(null))}
            />
          </div>
        `,
      )}
    </div>
  `;
}

function Figures({ ids, found, remove }) {
  return html`
    <div class="panel scrolls compared-runs" tabindex="0" role="region" aria-label="Figures of the runs">
      <table class="data">
        <caption class="hint">Means over the newest tenth of the steps that are shown.</caption>
        <thead>
          <tr>
            <th scope="col">Run</th>
            <th scope="col">State</th>
            <th scope="col">Verdict</th>
            <th scope="col" class="number">Step</th>
            ${COLUMNS.map(([name, label]) => html`<th scope="col" class="number" key=${name}>${label}</th>`)}
            <td></td>
          </tr>
        </thead>
        <tbody>
          ${ids.map((id, place) => html`<${Row} key=${id} ...${{ id, stroke: STROKES[place], of: found[id], remove }} />`)}
        </tbody>
      </table>
    </div>
  `;
}

function Row({ id, stroke, of: { run, end, problem } = {}, remove }) {
  const name = html`
    <th scope="row"><${Stroke} ...${stroke} width=${2.5} /> <a href=${link(["runs", id])}>${id}</a></th>
  `;
  const away = html`
    <td><button class="button quiet" aria-label="Remove ${id}" onClick=${() => remove(id)}>Remove</button></td>
  `;
  if (!run) {
    return html`<tr>${name}<td colspan=${COLUMNS.length + 3} class="problem">${problem?.message}</td>${away}</tr>`;
  }
  return html`
    <tr>
      ${name}
      <td><${Standing} run=${run} /></td>
      <td>${run.step > 0 && html`<${VerdictBadge} verdict=${run.verdicts[0]} />`} <div class="small">${run.headline}</div></td>
      <td class="number">${count(run.step)}</td>
      ${COLUMNS.map(
        ([field, , form]) => html`<td class="number" key=${field}>${form(end?.columns[field][0])}</td>`,
      )}
      ${away}
    </tr>
  `;
}

/** Takes another run in; while its name is typed the monitor is asked which there are. */
function Add({ ids, add }) {
  const [known, setKnown] = useState([]);
  const [typed, setTyped] = useState("");
  const field = useRef();
  useEffect(() => {
    const asking = new AbortController();
    get("/v1/runs", { q: typed || undefined, limit: 20 }, asking).then(
      ({ runs }) => setKnown(runs.map(({ id }) => id)),
      () => {},
    );
    return () => asking.abort();
  }, [typed]);
  const isFull = ids.length >= MOST;
  const submit = (event) => {
    event.preventDefault();
    const id = typed.trim();
    if (id && !ids.includes(id)) add(id);
    setTyped("");
    field.current.focus();
  };
  return html`
    <form class="toolbar" onSubmit=${submit}>
      <label>
        Run ${" "}
        <input
          ref=${field}
          list="known-runs"
          value=${typed}
          onInput=${(event) => setTyped(event.target.value)}
          disabled=${isFull}
          required
          autocomplete="off"
          spellcheck=${false}
        />
      </label>
      <datalist id="known-runs">
        ${known.filter((id) => !ids.includes(id)).map((id) => html`<option key=${id} value=${id} />`)}
      </datalist>
      <button class="button" disabled=${isFull}>Add</button>
      <span class="hint">
        ${isFull ? `${MOST} is as many as can be told apart` : `${plural(ids.length, "run")} of at most ${MOST}`}
      </span>
    </form>
  `;
}
