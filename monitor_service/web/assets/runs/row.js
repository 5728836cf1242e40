// One run in the list.

import { VerdictBadge } from "../badge.js";
import { html, useEffect, useMemo, useRef, useState } from "../dom.js";
import { Age, count, figure, NOTHING, rate } from "../format.js";
import { link } from "../router.js";
import { Standing } from "../standing.js";
import { choose } from "./chosen.js";
import { limitTo } from "./filters.js";
import { Spark } from "./spark.js";

/** Rows this near to what is seen are brought up to date, too. */
const MARGIN = "200px";
const MOST_TAGS = 4;

export function Row({ row, isChosen, mayChoose, listing }) {
  const element = useRef();
  const isSeen = useIsSeen(element);
  const { id } = row.run;
  useEffect(() => {
    if (isSeen && row.isStale) listing.look(id);
  }, [isSeen, row, listing]);
  useEffect(() => (isSeen ? () => listing.lookAway(id) : undefined), [isSeen, id, listing]);
  // The same elements as before are not looked at again: most of a thousand rows do not move.
  return useMemo(
    () => html`
      <tr ref=${element} role="row">
        <td role="cell" class="choice">
          <input
            type="checkbox"
            checked=${isChosen}
            disabled=${!mayChoose && !isChosen}
            aria-label="Compare ${id}"
            onChange=${(event) => choose(id, event.target.checked)}
          />
        </td>
        <${Cells} ...${row} />
      </tr>
    `,
    [row, isChosen, mayChoose],
  );
}

function Cells({ run, steps }) {
  const [worst = null] = run.verdicts;
  const figures = run.last?.collapse;
  return html`
    <td role="cell" class="name">
      <a href=${link(["runs", run.id])}>${run.id}</a>
      <${Tags} tags=${run.tags} />
      ${run.notes && html`<div class="notes hint small" title=${run.notes}>${run.notes}</div>`}
    </td>
    <td role="cell" class="state"><${Standing} run=${run} /></td>
    <td role="cell" class="health">
      ${(run.last || worst) && html`<${VerdictBadge} verdict=${worst} />`}${" "}
      ${run.headline}
    </td>
    <td role="cell" class="number" data-label="Step">
      ${count(run.step)}
      ${run.attempt > 1 && html`<div class="hint small">attempt ${run.attempt}</div>`}
    </td>
    <td role="cell" class="acr" data-label="ACR">
      <span class="number">${rate(figures?.acr)}</span>
      <${Spark}
        acr=${steps?.acr ?? []}
        smoothed=${steps?.acr_smoothed ?? []}
        threshold=${run.settings.threshold}
      />
    </td>
    <td role="cell" class="number" data-label="Reward">${figure(figures?.reward_mean)}</td>
    <td role="cell" class="number report" data-label="Last report">
      ${run.last_report_at_s === null ? NOTHING : html`<${Age} at=${run.last_report_at_s} />`}
    </td>
  `;
}

function Tags({ tags }) {
  const [isOpen, setIsOpen] = useState(false);
  const all = Object.entries(tags);
  if (!all.length) return null;
  const shown = isOpen ? all : all.slice(0, MOST_TAGS);
  const rest = all.length - shown.length;
  return html`
    <div class="tags">
      ${shown.map(([name, value]) => html`<${Tag} key=${name} name=${name} value=${value} />`)}
      ${rest > 0 &&
      html`<button class="chip" onClick=${() => setIsOpen(true)}>${rest} more</button>`}
    </div>
  `;
}

function Tag({ name, value }) {
  const text = `${name}: ${value}`;
  return html`
    <button class="chip" title="Only runs with ${text}" onClick=${() => limitTo(name, value)}>
      ${text}
    </button>
  `;
}

const seers = new Map();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) seers.get(target)?.(isIntersecting);
  },
  { rootMargin: MARGIN },
);

function useIsSeen(element) {
  const [isSeen, setIsSeen] = useState(false);
  useEffect(() => {
    const target = element.current;
    seers.set(target, setIsSeen);
    observer.observe(target);
    return () => {
      observer.unobserve(target);
      seers.delete(target);
    };
  }, []);
  return isSeen;
}
