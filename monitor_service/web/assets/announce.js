// What a screen reader is told without being asked.

import { html } from "./dom.js";
import { signal, useSignal } from "./signal.js";

const said = signal({ text: "", number: 0 });

/** Tell readers who do not see the page; politely, so after what is being read. */
export function announce(text) {
  said.set({ text, number: said.value.number + 1 });
}

export function Announcements() {
  const { text, number } = useSignal(said);
  // A new element is read even if it says the same again.
  return html`<div class="unseen" role="status"><span key=${number}>${text}</span></div>`;
}
