// How a run is doing, in words: headline, verdicts with cause and advice, earlier alarms, forecast.

import { announce } from "../announce.js";
import { get, runPath } from "../api.js";
import { Badge, ruleName } from "../badge.js";
import { html, useEffect, useRef, useState } from "../dom.js";
import { count, percent } from "../format.js";
import { episodesOf } from "./landmarks.js";

/** One sentence: does it learn, and if not, why. Told aloud when the verdict is another one. */
export function Headline({ run }) {
  const { headline, verdicts } = run;
  const verdict = verdicts.map(({ rule, severity }) => `${severity} ${rule}`).join();
  const before = useRef(verdict);
  useEffect(() => {
    if (before.current !== verdict) announce(headline);
    before.current = verdict;
  }, [verdict]);
  const level = verdicts[0]?.severity ?? (run.last && !run.settings.kill ? "fine" : "info");
  return html`<p class="run-headline" data-level=${level}>${headline}</p>`;
}

/** What the health rules say now, the most severe one in full, and what they said before. */
export function Verdicts({ run, events }) {
  return html`
    ${!run.last && html`<p class="hint">Nothing to judge yet.</p>`}
    ${run.last && !run.verdicts.length && html`<p><${Badge} level="fine">no warning<//></p>`}
    ${run.verdicts.map((verdict, at) => html`<${Verdict} key=${verdict.rule} verdict=${verdict} isWorst=${at === 0} />`)}
    <${Earlier} events=${events} lastStep=${run.step} />
  `;
}

function Verdict({ verdict: { severity, rule, since_step: since, cause, advice }, isWorst }) {
  const name = html`
    <h3>
      <${Badge} level=${severity}>${severity}<//> ${ruleName(rule)}
      <span class="hint"> since step ${count(since)}</span>
    </h3>
  `;
  const more = html`
    <p>${cause}</p>
    <p><b>What to do.</b> ${advice}</p>
  `;
  return html`
    <article class="verdict">
      ${isWorst ? html`${name}${more}` : html`<details><summary>${name}</summary>${more}</details>`}
    </article>
  `;
}

/** Alarms that were raised before, and are over: when, on a line from the first step to the newest. */
function Earlier({ events, lastStep }) {
  const over = (events ? episodesOf(events) : []).filter(({ until }) => until !== null);
  if (!over.length) return null;
  const place = (step) => `${(100 * step) / Math.max(1, lastStep)}%`;
  return html`
    <details class="earlier">
      <summary>Earlier alarms (${count(over.length)})</summary>
      <ol>
        ${over.reverse().map(
          ({ rule, severity, since, until, message }) => html`
            <li key="${rule} ${since}">
              <span class="when" aria-hidden="true">
                <span
                  data-level=${severity}
                  style=${{ left: place(since), right: `calc(100% - ${place(until)})` }}
                ></span>
              </span>
              <p>
                <b>${ruleName(rule)}</b>, ${severity}, steps ${count(since)} to ${count(until)}:
                <span> ${message}</span>
              </p>
            </li>
          `,
        )}
      </ol>
    </details>
  `;
}

/** Steps of which the forecast is made. */
const FORECAST_STEPS = 100;

/** The accuracy to expect at the end, and the one there was. */
export function Outlook({ run, news }) {
  const [found, setFound] = useState(null);
  const [numNews, setNumNews] = useState(0);
  const isDue = run.step >= FORECAST_STEPS;
  useEffect(
    () =>
      news.subscribe((kind, data) => {
        if (["result", "resumed"].includes(data.event?.kind)) setNumNews((before) => before + 1);
      }),
    [news],
  );
  useEffect(() => {
    const asking = new AbortController();
    get(runPath(run.id, "forecast"), {}, asking).then(setFound, () => {});
    return () => asking.abort();
  }, [run.id, isDue, numNews]);
  if (!found) return html`<p class="outlook"> </p>`;
  const { forecast, result } = found;
  return html`
    <p class="outlook">
      ${result && html`<b>Result ${percent(result.accuracy)}</b> on ${result.benchmark}. `}
      ${forecast.ready ? html`<${Forecast} forecast=${forecast} />` : html`<span class="hint">${missing(forecast, isDue)}</span>`}
    </p>
  `;
}

function Forecast({ forecast: { expected, low, high, benchmark, source, num_runs: numRuns, caveat, why } }) {
  const basis = source === "paper" ? "the paper’s line" : `${count(numRuns)} runs of your own`;
  return html`
    <b>Forecast ${percent(expected)}</b>, 90 % interval ${percent(low)} to ${percent(high)}, on
    ${` ${benchmark}`}, by <span title=${why}>${basis}</span>.
    <span class="hint"> ${caveat}.</span>
  `;
}

function missing({ steps_seen: seen }, isDue) {
  if (!isDue) return `Forecast after ${FORECAST_STEPS} steps.`;
  return `No forecast: ${seen} of the first ${FORECAST_STEPS} steps were scored, too few.`;
}
