// ACR over the newest steps, in the size of a word.

import { html } from "../dom.js";
import { plural, rate } from "../format.js";

const WIDTH = 120;
const HEIGHT = 28;
const MARGIN = 2;

/**
 * `acr` and `smoothed` are oldest first, null where nothing was scored; `threshold` is that of now.
 * The scale is [0, 1] in every row, so that rows can be compared.
 */
export function Spark({ acr, smoothed, threshold }) {
  const known = smoothed.filter((one) => one !== null);
  if (!known.length) return html`<span class="spark" />`;
  const range = `${rate(Math.min(...known))} to ${rate(Math.max(...known))}`;
  const label = `Smoothed ACR over the last ${plural(acr.length, "step")}: ${range}`;
  const at = y(threshold);
  return html`
    <svg
      class="spark"
      viewBox="0 0 ${WIDTH} ${HEIGHT}"
      preserveAspectRatio="none"
      role="img"
      aria-label=${label}
    >
      <title>${label}. Thin: ACR of each step. Dashed: threshold ${rate(threshold)}</title>
      <line class="spark-floor" x1="0" x2=${WIDTH} y1=${y(0)} y2=${y(0)} />
      <line class="spark-threshold" x1="0" x2=${WIDTH} y1=${at} y2=${at} />
      <path class="spark-raw" d=${path(acr)} />
      <path class="spark-smoothed" d=${path(smoothed)} />
    </svg>
  `;
}

/** A line with gaps; what stands alone is a dot: a line of no length that is round at its ends. */
function path(rates) {
  const stepPx = (WIDTH - 2 * MARGIN) / Math.max(1, rates.length - 1);
  let found = "";
  let isDrawing = false;
  rates.forEach((one, index) => {
    if (one !== null) {
      const place = `${(MARGIN + index * stepPx).toFixed(1)} ${y(one)}`;
      found += isDrawing ? `L${place}` : `M${place}h0`;
    }
    isDrawing = one !== null;
  });
  return found;
}

function y(value) {
  return (HEIGHT - MARGIN - value * (HEIGHT - 2 * MARGIN)).toFixed(1);
}
