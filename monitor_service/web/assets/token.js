// The token that a monitor asks for.

import { html, useEffect, useRef, useState } from "./dom.js";
import { become } from "./me.js";

const LOOKS = /^acr_[0-9a-f]{8}_[\w-]+$/;

/** Asks for a token; `problem` is what was wrong with the last one. */
export function TokenEntry({ problem, isAnother = false }) {
  const [wrong, setWrong] = useState(null);
  const field = useRef();
  const told = wrong ?? problem?.message;
  useEffect(() => {
    if (!isAnother) field.current.focus();
  }, [told]);

  function enter(event) {
    event.preventDefault();
    const text = field.current.value.trim();
    if (!LOOKS.test(text)) {
      setWrong("A token looks like acr_1a2b3c4d_ and 43 letters and digits more.");
      return;
    }
    become(text);
  }

  return html`
    <form class="token panel" onSubmit=${enter}>
      ${isAnother
        ? html`<h2>Another token</h2>`
        : html`<h1>This monitor needs a token</h1>`}
      <p class="hint">
        Kept in this tab only, until it is closed. Who runs the monitor makes one:${" "}
        <code>acr token create NAME --scope control</code>, or <code>read</code> to look only.
      </p>
      <label class="field">
        <span>Token</span>
        <input
          ref=${field}
          type="password"
          autocomplete="off"
          spellcheck=${false}
          placeholder="acr_…"
          required
          aria-invalid=${Boolean(told)}
          aria-describedby="token-problem"
        />
      </label>
      <p id="token-problem" class="problem" role="alert">${told}</p>
      <button class="button primary">Continue</button>
    </form>
  `;
}
