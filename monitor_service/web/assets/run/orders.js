// The audit trail: everything people ordered of a run, newest first.

import { html } from "../dom.js";
import { Failed } from "./failed.js";
import { Order } from "./order.js";
import { useTrail } from "./trail.js";

export function Orders({ run, state }) {
  const { orders, next, problem, more, refresh } = useTrail(run, state);
  if (problem) return html`<${Failed} what="The orders" ...${{ problem, retry: refresh }} />`;
  if (!orders) return html`<p class="hint">Loading …</p>`;
  if (!orders.length) return html`<p class="hint">Nobody has ordered anything yet.</p>`;
  return html`
    <ol class="orders" tabindex="0" aria-label="Orders, newest first">
      ${orders.map((order) => html`<${Order} key=${order.id} isWhole ...${{ order, run }} />`)}
    </ol>
    ${next !== null && html`<button type="button" class="button" onClick=${more}>Older orders</button>`}
  `;
}
