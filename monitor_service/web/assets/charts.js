// A chart with what belongs to it: values at the cursor, a summary, a table, keys.

import { plot, shape } from "./chart/plot.js";
import { Legend } from "./chart/legend.js";
import { Table } from "./chart/table.js";
import { steps, summary, valuesAt } from "./chart/words.js";
import { html, useEffect, useId, useLayoutEffect, useMemo, useRef } from "./dom.js";
import { useSignal } from "./signal.js";
import { scheme } from "./theme.js";

/**
 * @typedef {object} Spec what a chart shows; all arrays have a place for each bin of `data`.
 * @property {{from: number[], to: number[]}} data first and last step of the bins.
 * @property {number} end the newest bin that the rest has a place for.
 * @property {Line[]} lines
 * @property {{label: string, colour: string, share: number[]}[]} [stack] shares in [0, 1], the
 *   lowest first.
 * @property {number[]} [injected] groups that were injected; a bar on top shows where there are any.
 * @property {{label: string, value: number, colour: string, dash?: number[]}[]} [levels]
 * @property {{step: number, kind: string, text: string}[]} [marks] kinds are those of glyph.js.
 * @property {[number, number]} [bounds] of the axis; without them those of what is drawn.
 * @property {(value: number) => string} format of a value, for people.
 * @property {(value: number) => string} tick of a value, at the axis.
 * @property {number} height in pixels.
 *
 * @typedef {object} Line
 * @property {string} label
 * @property {string} colour the name of one in css/base.css.
 * @property {(number | null)[]} mean
 * @property {(number | null)[]} [drawn] what is drawn, where that is not the mean.
 * @property {(number | null)[]} [low] with `high`, a band behind the line.
 * @property {number} [end] its newest bin, where that is not the newest of all.
 * @property {boolean} [isBare] draw no band all the same.
 * @property {number} [width]
 * @property {number[]} [dash]
 */

/**
 * @param {object} props
 * @param {string} props.title
 * @param {string} [props.unit]
 * @param {Spec} props.spec the same object for as long as nothing is new.
 * @param {object} props.cursor a signal: the bin that is pointed at, on all charts that share it.
 * @param {(from: number, to: number) => void} props.select look at these steps.
 * @param {(() => void) | null} props.reset look at all of them; null while they are shown.
 * @param {(index: number) => void} [props.open] go to what a bin is made of.
 * @param {any} [props.children] notes beneath the legend.
 */
export function Chart({ title, unit, spec, cursor, select, reset, open, children }) {
  const id = useId();
  return html`
    <figure class="chart" aria-labelledby="${id}-title">
      <figcaption>
        <h3 id="${id}-title">${title}${unit && html` <span class="unit">${unit}</span>`}</h3>
        <p id="${id}-summary" class="unseen">${summary(title, spec)}</p>
      </figcaption>
      <${Legend} spec=${spec} cursor=${cursor} />
      <${Plot} ...${{ id, spec, cursor, select, reset, open }} />
      ${children}
      <${Table} title=${title} spec=${spec} />
    </figure>
  `;
}

function Plot({ id, spec, cursor, select, reset, open }) {
  const box = useRef();
  const drawing = useRef();
  const told = useRef();
  told.current = { select, reset, open };
  const form = `${shape(spec)} ${useSignal(scheme)}`;
  const at = useSignal(cursor);
  const isOwn = useRef(false);

  useLayoutEffect(() => {
    drawing.current = plot(box.current, spec, {
      point(index) {
        isOwn.current = true;
        cursor.set(index);
        isOwn.current = false;
      },
      select: (from, to) => told.current.select(from, to),
      mayReset: () => told.current.reset !== null,
      reset: () => told.current.reset?.(),
      press: (index) => told.current.open?.(index),
    });
    return () => drawing.current.destroy();
  }, [form]);
  useEffect(() => drawing.current.update(spec), [spec, form]);
  useEffect(
    () => cursor.watch((index) => isOwn.current || drawing.current.point(index)),
    [cursor],
  );

  const { to } = spec.data;
  const last = to.length - 1;
  const keys = useMemo(() => {
    const move = (index) => cursor.set(Math.min(last, Math.max(0, index)));
    const page = Math.max(1, Math.round(last / 10));
    const here = () => cursor.value ?? last;
    return {
      ArrowLeft: () => move(here() - 1),
      ArrowRight: () => move(here() + 1),
      PageDown: () => move(here() - page),
      PageUp: () => move(here() + page),
      Home: () => move(0),
      End: () => move(last),
      Enter: () => told.current.open?.(here()),
      Escape: () => (cursor.value === null ? told.current.reset?.() : cursor.set(null)),
    };
  }, [last]);

  return html`
    <div
      class="plot"
      ref=${box}
      style=${{ height: `${spec.height}px` }}
      role="slider"
      tabindex="0"
      aria-labelledby="${id}-title"
      aria-describedby="${id}-summary"
      aria-valuemin=${to[0] ?? 0}
      aria-valuemax=${to[last] ?? 0}
      aria-valuenow=${to[at ?? last] ?? 0}
      aria-valuetext=${at === null
        ? `${steps(spec.data, last)}, the newest`
        : `${steps(spec.data, at)}: ${valuesAt(spec, at)}`}
      onKeyDown=${(event) => {
        if (!keys[event.key] || last < 0) return;
        event.preventDefault();
        keys[event.key]();
      }}
    ></div>
  `;
}
