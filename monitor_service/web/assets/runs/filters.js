// What the list is limited to, and its order: in the address, so that it can be kept and shared.

import { html, useEffect, useRef } from "../dom.js";
import { place, revise } from "../router.js";
import { STANDINGS } from "../standing.js";
import { ORDERS } from "./order.js";

const TYPING_MS = 250;
const STATES = [["", "every state"], ...STANDINGS.map((one) => [one, one])];
const ORDER_WORDS = Object.entries(ORDERS).map(([name, { words }]) => [name, words]);

export function Filters({ q = "", state = "", tag, order }) {
  return html`
    <div class="filters toolbar" role="search" aria-label="Runs">
      <${Search} q=${q} />
      <${Choice}
        label="State"
        value=${state}
        words=${STATES}
        choose=${(one) => revise({ state: one })}
      />
      <${TagEntry} />
      ${tag.map((one) => html`<${Limit} key=${one} tag=${one} />`)}
      <label class="end">
        <span class="hint">Order</span>
        <${Choice}
          label="Order"
          value=${order}
          words=${ORDER_WORDS}
          choose=${(one) => revise({ order: one === "newest" ? null : one })}
        />
      </label>
    </div>
  `;
}

function Search({ q }) {
  const field = useRef();
  const typing = useRef();
  useEffect(() => {
    // The address may change by itself, but not under what is being typed.
    if (document.activeElement !== field.current) field.current.value = q;
  }, [q]);
  useEffect(() => () => clearTimeout(typing.current), []);
  function typed({ target }) {
    clearTimeout(typing.current);
    typing.current = setTimeout(() => revise({ q: target.value.trim() }), TYPING_MS);
  }
  return html`
    <input
      ref=${field}
      type="search"
      placeholder="Search by id"
      aria-label="Search by id"
      onInput=${typed}
    />
  `;
}

function Choice({ label, value, words, choose }) {
  return html`
    <select aria-label=${label} value=${value} onChange=${({ target }) => choose(target.value)}>
      ${words.map(([one, word]) => html`<option key=${one} value=${one}>${word}</option>`)}
    </select>
  `;
}

function TagEntry() {
  function add(event) {
    event.preventDefault();
    const field = event.target.elements.tag;
    const [name, ...value] = field.value.split(":");
    if (value.length) {
      limitTo(name.trim(), value.join(":").trim());
      field.value = "";
    } else {
      field.setCustomValidity("A tag is written NAME:VALUE");
      field.reportValidity();
    }
  }
  return html`
    <form onSubmit=${add}>
      <input
        name="tag"
        autocomplete="off"
        placeholder="Tag, as name:value"
        aria-label="Tag, as name:value"
        onInput=${({ target }) => target.setCustomValidity("")}
      />
    </form>
  `;
}

function Limit({ tag }) {
  const remove = () => revise({ tag: tagsWithout(tag) });
  return html`
    <button class="chip" aria-label="No longer only with ${tag}" onClick=${remove}>${tag} ✕</button>
  `;
}

/** Only runs with this tag, beside what the list is limited to already. */
export function limitTo(name, value) {
  const one = `${name}:${value}`;
  revise({ tag: [...tagsWithout(one), one] });
}

function tagsWithout(one) {
  return (place.value.query.tag ?? []).filter((other) => other !== one);
}
