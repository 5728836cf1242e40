// Runs that the reader chose to compare.

import { html } from "../dom.js";
import { plural } from "../format.js";
import { link } from "../router.js";
import { signal, useSignal } from "../signal.js";

export const MOST = 8;

/** Ids, in the order they were chosen; kept while the reader looks at a run. */
export const chosen = signal([]);

export function choose(id, isChosen) {
  const others = chosen.value.filter((one) => one !== id);
  chosen.set(isChosen ? [...others, id] : others);
}

/** What can be done with them; nothing while there are none. */
export function Chosen() {
  const ids = useSignal(chosen);
  if (!ids.length) return null;
  return html`
    <div class="chosen panel toolbar" role="region" aria-label="Chosen runs">
      <span>
        ${plural(ids.length, "run")} chosen${ids.length === MOST && ", as many as compare shows"}
      </span>
      <button class="button quiet end" onClick=${() => chosen.set([])}>Choose none</button>
      <a class="button primary" href=${link(["compare"], { run: ids })}>Compare</a>
    </div>
  `;
}
