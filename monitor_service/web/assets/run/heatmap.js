// The rewards of a step: a row for each group, a cell for each completion. Only what is in sight is drawn.

import { html, useEffect, useMemo, useRef, useState } from "../dom.js";
import { figure, plural } from "../format.js";

/** As css/groups.css has it. */
const ROW_PX = 22;
/** Cells of a row beyond which no lines are drawn between them. */
const MOST_LINED = 64;
/** Rows drawn above and below what is in sight. */
const SPARE_ROWS = 8;
const MOST_SPOKEN = 32;

/** Outcomes in the order in which they ask for attention, and their words. */
export const OUTCOMES = {
  all_wrong: "all wrong",
  uniform_other: "other",
  mixed: "mixed",
  all_correct: "all correct",
  unscored: "unscored",
};

/** `[low, high]` of the colours: the declared range, else from the least reward to the greatest. */
export function rangeOf({ reward_low: low, reward_high: high, groups }) {
  if (low !== null && high !== null) return [low, high];
  let range = null;
  for (const { rewards } of groups) {
    for (const one of rewards) {
      if (one !== null) range = range ? [Math.min(range[0], one), Math.max(range[1], one)] : [one, one];
    }
  }
  return range ?? [0, 1];
}

/** A cell's colour: that of wrong answers, over nothing much, to that of right ones. */
export function shade(reward, [low, high]) {
  const place = high > low ? Math.min(1, Math.max(0, (reward - low) / (high - low))) : 0.5;
  return place < 0.5
    ? `color-mix(in oklab, var(--heat-middle) ${(200 * place).toFixed()}%, var(--wrong))`
    : `color-mix(in oklab, var(--correct) ${(200 * place - 100).toFixed()}%, var(--heat-middle))`;
}

/**
 * The map, a list of which one row is chosen.
 *
 * @param {object} props
 * @param {object[]} props.rows groups in the order they are shown, each with its `number`.
 * @param {[number, number]} props.range
 * @param {number} props.chosen place of a row.
 * @param {(place: number) => void} props.choose
 * @param {(place: number | null) => void} props.point the pointer is over this row, or over none.
 */
export function Heatmap({ rows, range, chosen, choose, point }) {
  const list = useRef();
  const [top, setTop] = useState(0);
  const [numInSight, setNumInSight] = useState(0);

  function look() {
    // A scroll may still be told of when the list is gone.
    if (!list.current) return;
    setTop(Math.floor(list.current.scrollTop / ROW_PX));
    setNumInSight(Math.ceil(list.current.clientHeight / ROW_PX));
  }

  useEffect(() => {
    const resizes = new ResizeObserver(look);
    resizes.observe(list.current);
    return () => resizes.disconnect();
  }, []);

  const width = rows[0].rewards.length;
  const first = Math.max(0, top - SPARE_ROWS);
  const last = Math.min(rows.length, top + numInSight + 1 + SPARE_ROWS);

  function moveTo(place) {
    const to = Math.min(rows.length - 1, Math.max(0, place));
    const { scrollTop, clientHeight } = list.current;
    if (to * ROW_PX < scrollTop) list.current.scrollTop = to * ROW_PX;
    if ((to + 1) * ROW_PX > scrollTop + clientHeight) list.current.scrollTop = (to + 1) * ROW_PX - clientHeight;
    look();
    choose(to);
  }

  function press(event) {
    const page = Math.max(1, numInSight - 2);
    const places = {
      ArrowDown: chosen + 1,
      ArrowUp: chosen - 1,
      PageDown: chosen + page,
      PageUp: chosen - page,
      Home: 0,
      End: rows.length - 1,
    };
    if (!(event.key in places) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moveTo(places[event.key]);
  }

  return html`
    <div
      class="heatmap"
      style=${{ "--width": width }}
      ref=${list}
      role="listbox"
      tabindex="0"
      aria-label="Groups"
      aria-activedescendant=${first <= chosen && chosen < last ? `group-${rows[chosen].number}` : undefined}
      onScroll=${look}
      onKeyDown=${press}
      onPointerLeave=${() => point(null)}
    >
      <div
        class="rows ${width > MOST_LINED ? "" : "lined"}"
        role="presentation"
        style=${{ height: `${rows.length * ROW_PX}px` }}
      >
        ${rows.slice(first, last).map(
          (group, index) => html`
            <${Row}
              key=${group.number}
              ...${{ group, range }}
              isChosen=${first + index === chosen}
              top=${(first + index) * ROW_PX}
              position=${[first + index + 1, rows.length]}
              choose=${() => choose(first + index)}
              point=${() => point(first + index)}
            />
          `,
        )}
      </div>
    </div>
  `;
}

function Row({ group, range, isChosen, top, position: [place, total], choose, point }) {
  const cells = useMemo(() => group.rewards.map((reward) => cell(reward, range)), [group, range]);
  return html`
    <div
      class="group"
      id="group-${group.number}"
      role="option"
      aria-selected=${isChosen}
      aria-posinset=${place}
      aria-setsize=${total}
      aria-label=${spoken(group)}
      style=${{ top: `${top}px` }}
      onClick=${choose}
      onPointerEnter=${point}
    >
      <span class="number">${group.number}</span>
      <span class="outcome" data-outcome=${group.outcome}>${OUTCOMES[group.outcome]}</span>
      <span class="number">${figure(group.mean)}</span>
      <span class="cells">${cells}</span>
    </div>
  `;
}

function cell(reward, range) {
  if (reward === null) return html`<i class="unscored"></i>`;
  const isBeyond = reward < range[0] || reward > range[1];
  return html`<i class=${isBeyond ? "beyond" : ""} style=${{ background: shade(reward, range) }}></i>`;
}

function spoken({ number, outcome, scored, mean, std, rewards }) {
  const some = rewards.slice(0, MOST_SPOKEN).map((one) => (one === null ? "none" : figure(one)));
  const figures = scored ? `mean ${figure(mean)}, deviation ${figure(std)}, ` : "";
  const rest = rewards.length > MOST_SPOKEN ? `, and ${rewards.length - MOST_SPOKEN} more` : "";
  const told = `Group ${number}, ${OUTCOMES[outcome]}, ${figures}${plural(scored, "completion")} scored`;
  return `${told}: ${some.join(", ")}${rest}`;
}
