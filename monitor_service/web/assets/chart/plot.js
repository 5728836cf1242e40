// One chart on a canvas: uPlot for lines, axes and the cursor, and what paint.js adds to them.

import uPlot from "uplot";
import { count } from "../format.js";
import { FONT, ink, MARK_PX, over, under } from "./paint.js";

const AXIS_PX = 46;
/** Room for half of a number beneath the last step. */
const RIGHT_PX = 24;
const DRAG_PX = 6;
const DOUBLE_CLICK_MS = 250;
/** Largest value over the median from which a figure gets an axis that spreads small ones out. */
const SPIKY = 100;

/**
 * Draw a chart into an element, as wide as that and `height` pixels high.
 *
 * @param {HTMLElement} element
 * @param {Spec} spec what is drawn; see charts.js.
 * @param {object} told
 * @param {(index: number | null) => void} told.point the reader points at a bin.
 * @param {(from: number, to: number) => void} told.select the reader dragged over these steps.
 * @param {() => boolean} told.mayReset whether a double click would do anything.
 * @param {() => void} told.reset the reader clicked twice.
 * @param {(index: number) => void} told.press the reader clicked on a bin.
 */
export function plot(element, spec, told) {
  let shown = spec;
  let pointed = null;
  let isOver = false;
  const asinh = spec.bounds ? null : spikiness(spec.lines);
  const lines = spec.lines.flatMap(series);
  const u = new uPlot(
    {
      width: element.clientWidth,
      height: spec.height,
      legend: { show: false },
      padding: [MARK_PX * 3, RIGHT_PX, 0, 0],
      scales: {
        x: { time: false, range: () => extent(shown.data) },
        y: {
          ...(asinh === null ? {} : { distr: 4, asinh }),
          range: (_, low, high) => spec.bounds ?? padded(low, high, shown.levels),
        },
      },
      axes: [
        axis({ size: 30, space: 70, incrs: WHOLE, values: (_, splits) => splits.map(count) }),
        axis({ size: AXIS_PX, space: 34, values: (_, splits) => splits.map(spec.tick) }),
      ],
      series: [{}, ...lines],
      bands: lines.flatMap(({ bandOf }, index) =>
        bandOf ? [{ series: [index + 1, index + 2], fill: ink(bandOf, 0.2) }] : [],
      ),
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false, dist: DRAG_PX },
        bind: { dblclick: () => null },
      },
      hooks: {
        drawClear: [(u) => under(u, shown)],
        // Where the reader does not point by hand the cursor stays on its bin, not on its pixel.
        draw: [(u) => over(u, shown), () => isOver || point(pointed)],
        setCursor: [(u) => isOver && told.point(u.cursor.left < 0 ? null : u.cursor.idx)],
        setSelect: [(u) => selected(u, shown.data, told.select)],
      },
    },
    columns(spec),
    element,
  );
  u.over.addEventListener("mouseenter", () => (isOver = true));
  u.over.addEventListener("mouseleave", () => (isOver = false));
  const stopClicks = clicks(u, told);
  const resizing = new ResizeObserver(() => {
    if (element.clientWidth) u.setSize({ width: element.clientWidth, height: spec.height });
  });
  resizing.observe(element);

  /** Put the cursor on a bin; null takes it away. */
  function point(index) {
    pointed = index;
    const x = shown.data.to[index];
    const left = x === undefined ? -10 : u.valToPos(x, "x");
    u.setCursor({ left, top: left < 0 ? -10 : 0 }, false);
  }

  return {
    point,
    /** Show more, or something else, of the same lines. */
    update(next) {
      if (next === shown) return;
      shown = next;
      u.setData(columns(next));
    },
    destroy() {
      stopClicks();
      resizing.disconnect();
      u.destroy();
    },
  };
}

/** Tell single and double clicks apart, where both mean something; a finger points first, then clicks. */
function clicks(u, told) {
  let pointed = null;
  let isTouch = false;
  let timer;
  const press = (index) => told.press(index);
  u.over.addEventListener("pointerdown", (event) => {
    isTouch = event.pointerType === "touch";
    pointed = u.cursor.idx;
  });
  u.over.addEventListener("click", () => {
    const { idx } = u.cursor;
    clearTimeout(timer);
    if (idx === null || (isTouch && idx !== pointed)) return;
    if (told.mayReset() && !isTouch) timer = setTimeout(press, DOUBLE_CLICK_MS, idx);
    else press(idx);
  });
  u.over.addEventListener("dblclick", () => {
    clearTimeout(timer);
    if (!isTouch) told.reset();
  });
  return () => clearTimeout(timer);
}

/** What has to be the same for `update` to do. */
export function shape(spec) {
  return JSON.stringify([
    spec.height,
    spec.lines.map((line) => [line.label, line.colour, line.dash, hasBand(line)]),
    spec.bounds ? null : spikiness(spec.lines) === null,
  ]);
}

const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 16 }, (_, n) => digit * 10 ** n));
WHOLE.sort((a, b) => a - b);

function axis(options) {
  const line = { stroke: ink("line"), width: 1 };
  return { stroke: ink("muted"), font: FONT, grid: line, ticks: { ...line, size: 4 }, ...options };
}

/** A line, before it the bounds of its band, if it has one. */
function series({ colour: name, width = 1.5, dash, alpha = 1, ...line }) {
  const mean = {
    stroke: ink(name, alpha),
    width,
    dash,
    points: { show: false, filter: lonely, size: 6, fill: ink(name, alpha) },
  };
  const bound = { stroke: "transparent", points: { show: false } };
  return hasBand(line) ? [{ ...bound, bandOf: name }, bound, mean] : [mean];
}

function columns({ data, lines }) {
  return [
    data.to,
    ...lines.flatMap((line) => (hasBand(line) ? [line.high, line.low, line.mean] : [line.drawn ?? line.mean])),
  ];
}

function hasBand({ low, isBare }) {
  return Boolean(low) && !isBare;
}

/** Indices of values that no line shows, since there are none beside them. */
function lonely(u, seriesIndex) {
  const values = u.data[seriesIndex];
  // Where a value is undefined another series has its place, and the line goes on.
  const own = [...values.keys()].filter((at) => values[at] !== undefined);
  const isKnown = (place) => known(values[own[place]]);
  const found = own.filter((_, place) => isKnown(place) && !isKnown(place - 1) && !isKnown(place + 1));
  return found.length ? found : null;
}

function known(value) {
  return value !== null && value !== undefined;
}

/** First and last step, with half a step to either side. */
function extent({ from, to }) {
  return to.length ? [from[0] - 0.5, to.at(-1) + 0.5] : [0.5, 1.5];
}

function padded(low, high, levels = []) {
  const all = [low, high, ...levels.map(({ value }) => value)].filter(known);
  if (!all.length) return [0, 1];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const space = (most - least || Math.abs(most) || 1) * 0.08;
  // An axis does not go below zero for the sake of space.
  return [least >= 0 ? Math.max(0, least - space) : least - space, most + space];
}

/** The median of what is drawn if its largest value is far above it, else null. */
function spikiness(lines) {
  const values = lines.flatMap(({ mean, high }) => high ?? mean).filter(known).map(Math.abs);
  if (!values.length) return null;
  values.sort((a, b) => a - b);
  const median = values[values.length >> 1];
  return median > 0 && values.at(-1) > SPIKY * median ? median : null;
}

/** The reader dragged over these steps: those whose middle is within. */
function selected(u, data, select) {
  const { left, width } = u.select;
  if (!width) return;
  u.setSelect({ left: 0, width: 0 }, false);
  const [from, to] = [left, left + width].map((at) => u.posToVal(at, "x"));
  const first = data.to.findIndex((step) => step >= from);
  const last = data.from.findLastIndex((step) => step <= to);
  if (first >= 0 && last >= first) select(data.from[first], data.to[last]);
}
