// A word with a mark: how bad something is, and how a run stands. Never a colour alone.

import { html } from "./dom.js";

/** Shapes differ, so that they do without colour: a filled octagon, a triangle, a dot, a tick. */
const MARKS = {
  critical: "M3.5 0h5L12 3.5v5L8.5 12h-5L0 8.5v-5Z",
  warning: "M6 .5 12 11.5H0Z",
  info: "M6 2.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7Z",
  fine: "M4.4 10.6.6 6.8 2 5.3l2.4 2.4L10 1.9l1.5 1.5Z",
};

/** `level` is critical, warning, info or fine. */
export function Badge({ level = "info", title, children }) {
  return html`
    <span class="badge" data-level=${level} title=${title}>
      <svg viewBox="0 0 12 12" aria-hidden="true"><path d=${MARKS[level]} /></svg>
      <span>${children}</span>
    </span>
  `;
}

/** The most severe verdict of a run: `verdict` is a Verdict, null when nothing was found. */
export function VerdictBadge({ verdict }) {
  if (!verdict) return html`<${Badge} level="fine">no warning<//>`;
  return html`
    <${Badge} level=${verdict.severity}>
      <span class="unseen">${verdict.severity}: </span>${ruleName(verdict.rule)}
    <//>
  `;
}

/** The name of a health rule as words. */
export function ruleName(rule) {
  return rule.replaceAll("_", " ");
}
