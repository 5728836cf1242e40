// The changes that are about to be sent: what they are, why, for how long, and who was faster.

import { html } from "../dom.js";
import { plural } from "../format.js";
import { Differences } from "./difference.js";
import { useExpiry } from "./expiry.js";
import { FORM } from "./form.js";
import { deed, Order } from "./order.js";
import { useSignature } from "./signature.js";

/** `form` as `useForm` gives it; `orders` of the audit trail, newest first. */
export function Review({ form, run, orders }) {
  const { changes, unclear, since, isStale, isSending, refused } = form;
  const signature = useSignature({ id: FORM });
  const expiry = useExpiry(form.problems);
  const lasting = changes.find(({ field }) => expiry.isForAWhile && !field.is_overridable);
  const isReady = changes.length > 0 && !unclear.length && !lasting && !isSending;
  const entries = changes.map(({ field, from, to }) => [field.name, from, to]);

  function submit(event) {
    event.preventDefault();
    form.submit({ ...signature.signed(), ...(expiry.isForAWhile ? expiry.expires() : {}) });
  }

  return html`
    <form id=${FORM} class="review" onSubmit=${submit} aria-label="Changes to send">
      ${isStale && html`<${Meanwhile} orders=${orders?.filter((one) => one.version > since.version)} run=${run} />`}
      <h3>${changes.length ? `${plural(changes.length, "change")} to send` : "Nothing to send"}</h3>
      <${Differences} entries=${entries} />
      ${changes.some(({ field }) => field.name === "profile") &&
      html`<p class="hint">A profile sets every setting of its bundle; what is changed beside it comes on top.</p>`}
      ${signature.inputs} ${expiry.inputs}
      ${unclear.length > 0 && html`<p class="problem">To be mended first: ${unclear.join(", ")}.</p>`}
      ${lasting && html`<p class="problem">${lasting.field.name} can be changed for good only.</p>`}
      ${refused && !isStale && html`<p class="problem" role="alert">${refused.message}</p>`}
      <div class="toolbar">
        <button key=${isStale} class="button primary" disabled=${!isReady}>
          ${isStale ? "Send on top of it" : "Send"}
        </button>
        <button type="button" class="button" onClick=${form.discard}>${isStale ? "Discard mine" : "Discard"}</button>
      </div>
    </form>
  `;
}

function Meanwhile({ orders = [], run }) {
  const who = orders[0] ? `${orders[0].actor} ${deed(orders[0])}` : "The settings were changed";
  return html`
    <div class="meanwhile">
      <p role="alert"><strong>${who} while you were editing.</strong> What you typed is kept.</p>
      <ul class="orders">
        ${orders.map((order) => html`<${Order} key=${order.id} ...${{ order, run }} />`)}
      </ul>
    </div>
  `;
}
