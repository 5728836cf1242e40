// The event log of a run: newest first, live, by kind.

import { Badge } from "../badge.js";
import { html, useEffect, useMemo, useState } from "../dom.js";
import { nowS } from "../clock.js";
import { age, clock, count } from "../format.js";
import { link } from "../router.js";
import { Differences, differences } from "./difference.js";
import { Failed } from "./failed.js";
import { useLog } from "./log.js";

/** How often it is told anew how long ago something was. */
const AGING_MS = 20000;

const ALL = "all";
const KINDS = {
  [ALL]: undefined,
  alarms: ["alarm_raised", "alarm_updated", "alarm_resolved", "health_failed"],
  settings: [
    ...["settings_changed", "override_added", "override_ended", "override_expired", "killed"],
    ...["rearmed", "command_given", "command_accepted", "change_applied", "arming"],
  ],
  lifecycle: ["created", "resumed", "ended", "result", "described", "deleted", "restored"],
  data: ["gap", "invalid_rewards", "acr_source_fallback"],
};
const CHANGES = ["settings_changed", "override_added", "override_ended"];

export function Events({ run, state }) {
  const [chosen, setChosen] = useState(ALL);
  const { pages, next, problem, isLoading, more, retry } = useLog(run.id, state.news, KINDS[chosen]);
  const agingS = useAgingS();
  return html`
    <div class="toolbar kinds" role="group" aria-label="Kinds of events">
      ${Object.keys(KINDS).map(
        (name) => html`
          <button
            key=${name}
            type="button"
            class="button"
            aria-pressed=${name === chosen}
            onClick=${() => setChosen(name)}
          >
            ${name}
          </button>
        `,
      )}
    </div>
    ${problem && html`<${Failed} what="The events" ...${{ problem, retry }} />`}
    <div class="log" role="region" tabindex="0" aria-label="Events, newest first">
      ${pages.map((events) => html`<${Page} key=${events.at(-1)?.id} ...${{ runId: run.id, events, agingS }} />`)}
      ${!isLoading && !pages[0]?.length && html`<p class="hint">None of this kind.</p>`}
      ${next !== null && html`<button type="button" class="button" onClick=${more}>Older events</button>`}
    </div>
  `;
}

/** Some events; drawn anew only when they are others, or have aged. */
function Page({ runId, events, agingS }) {
  return useMemo(
    () => html`
      <ol>
        ${events.map((one) => html`<${Event} key=${one.id} ...${{ runId, agingS, ...one }} />`)}
      </ol>
    `,
    [runId, events, agingS],
  );
}

function Event({ runId, agingS, at_s: atS, event: { kind, step, message, data } }) {
  const ago = agingS - atS < 60 ? "now" : `${age(agingS - atS)} ago`;
  return html`
    <li class="event">
      <time dateTime=${new Date(atS * 1000).toISOString()}>${clock(atS)} <span class="hint">${ago}</span></time>
      ${step > 0
        ? html`<a href=${link(["runs", runId, "steps", step])}>step ${count(step)}</a>`
        : html`<span class="hint">before step 1</span>`}
      <span class="kind"><${Kind} kind=${kind} severity=${data.severity} /></span>
      <span class="message">
        ${message}
        ${CHANGES.includes(kind) && html`<${Differences} entries=${differences(data.old, data.new)} />`}
      </span>
    </li>
  `;
}

function Kind({ kind, severity }) {
  const words = kind.replaceAll("_", " ");
  if (severity) return html`<${Badge} level=${severity}>${words}<//>`;
  return kind === "alarm_resolved" ? html`<${Badge} level="fine">${words}<//>` : words;
}

function useAgingS() {
  const [agingS, setAgingS] = useState(nowS);
  useEffect(() => {
    const timer = setInterval(() => setAgingS(nowS()), AGING_MS);
    return () => clearInterval(timer);
  }, []);
  return agingS;
}
