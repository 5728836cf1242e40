// What a chart has beneath and above its lines: stacked shares, spans with injected groups, levels, marks, names.

import { colour, scheme } from "../theme.js";
import { glyph } from "./glyph.js";

export const FONT = `11px ${getComputedStyle(document.body).fontFamily}`;
/** Half the size of a mark, above the axes. */
export const MARK_PX = 4;
/** How opaque areas are: lines over them can be read. */
const FILL = 0.45;
/** Height of what marks a bin with injected groups. */
const INJECTED_PX = 5;
/** The newest of so many parts decides where the name of a share stands. */
const NAMED = 8;

const inks = new Map();
scheme.watch(() => inks.clear());

/** A colour of css/base.css as a canvas takes it; asking for one anew is slow. */
export function ink(name, alpha = 1) {
  const key = `${name} ${alpha}`;
  if (!inks.has(key)) inks.set(key, colour(name).replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`));
  return inks.get(key);
}

/** Stacked shares from the bottom and a bar on top, each bin as wide as its steps. */
export function under(u, { data, stack = [], injected }) {
  const { ctx, bbox } = u;
  const done = within(u);
  const edges = edgesOf(u, data);
  const floor = data.to.map(() => 0);
  for (const { colour: name, share } of stack) {
    ctx.fillStyle = ink(name, FILL);
    for (let at = 0; at < data.to.length; at += 1) {
      if (!share[at]) continue;
      const bottom = u.valToPos(floor[at], "y", true);
      floor[at] += share[at];
      const top = u.valToPos(floor[at], "y", true);
      const [left, right] = edges[at];
      ctx.fillRect(left, top, right - left, bottom - top);
    }
  }
  injected?.forEach((groups, at) => {
    if (!groups) return;
    const [left, right] = edges[at];
    ctx.fillStyle = ink("threshold");
    ctx.fillRect(left, bbox.top, right - left, INJECTED_PX * devicePixelRatio);
  });
  done();
}

/** Levels, marks, and the names of the shares. */
export function over(u, { stack = [], levels = [], marks = [] }) {
  const { left, top, width, height } = u.bbox;
  const px = devicePixelRatio;
  for (const { value, colour: name, dash } of levels) {
    line(u, [left, u.valToPos(value, "y", true)], [width, 0], ink(name), dash);
  }
  for (const { step, kind } of marks) {
    const { colour: name, draw } = glyph(kind);
    const x = Math.round(u.valToPos(step, "x", true));
    line(u, [x, top], [0, height], ink(name, 0.7), [2, 3]);
    u.ctx.fillStyle = ink(name);
    draw(u.ctx, x, top - (MARK_PX + 1) * px, MARK_PX * px);
  }
  names(u, stack);
}

/** Names of the shares at their newest end, where there is room. */
function names({ ctx, bbox: { left, top, width, height } }, stack) {
  const px = devicePixelRatio;
  ctx.font = `600 ${FONT.replace("11px", `${11 * px}px`)}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 3 * px;
  ctx.lineJoin = "round";
  ctx.strokeStyle = ink("surface");
  ctx.fillStyle = ink("text");
  let floor = 0;
  for (const { label, share } of stack) {
    const newest = share.slice(-Math.ceil(share.length / NAMED));
    const part = newest.reduce((sum, one) => sum + one, 0) / newest.length;
    const y = top + height * (1 - floor - part / 2);
    floor += part;
    if (part * height < 18 * px) continue;
    ctx.strokeText(label, left + width - 6 * px, y);
    ctx.fillText(label, left + width - 6 * px, y);
  }
}

/** Draw between the ends of the x axis from now on, until the returned function is called. */
function within({ ctx, bbox: { left, top, width, height } }) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, 0, width, top + height);
  ctx.clip();
  return () => ctx.restore();
}

function line({ ctx }, [x, y], [dx, dy], stroke, dash = []) {
  ctx.strokeStyle = stroke;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash(dash.map((part) => part * devicePixelRatio));
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x + dx, y + dy);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Where each bin begins and ends, in pixels; steps that nobody meant to report leave no gap. */
function edgesOf(u, { from, to }) {
  const usual = median(to.slice(1).map((step, at) => step - to[at])) ?? 1;
  return to.map((step, at) => {
    const before = Math.max(to[at - 1] ?? -Infinity, from[at] - usual);
    return [before, step].map((edge) => Math.round(u.valToPos(edge + 0.5, "x", true)));
  });
}

function median(values) {
  return values.sort((a, b) => a - b)[values.length >> 1];
}
