// Overrides: changes that return by themselves, and what is left of them.

import { runPath, send } from "../api.js";
import { useNowS } from "../clock.js";
import { html } from "../dom.js";
import { clock, count, plural, span } from "../format.js";
import { useCan } from "../me.js";
import { OrderButton } from "./dialog.js";
import { Differences } from "./difference.js";
import { Fate } from "./order.js";
import { useTrail } from "./trail.js";

export function Overrides({ run, state }) {
  const nowS = useNowS();
  const mayControl = useCan("control");
  const { orders } = useTrail(run, state);
  const alive = run.settings.overrides.filter(
    (one) => one.until_step > run.step && one.until_s > nowS,
  );
  if (!alive.length) return null;
  const end = (number) => async (signed) => {
    await send("POST", runPath(run.id, "overrides", number, "end"), signed);
    await state.reload();
  };
  return html`
    <ul class="overrides">
      ${alive.map(
        ({ number, changes, actor, reason, until_step: untilStep, until_s: untilS }) => html`
          <li key=${number}>
            <p>
              <strong>Override ${number}</strong> <span class="hint">${standing(number, run)}</span>
            </p>
            <${Differences} entries=${entriesOf(changes, run.settings)} />
            <p>
              ${plural(untilStep - run.step, "step")} or ${span(untilS - nowS)} left
              <span class="hint"> until step ${count(untilStep)} or ${clock(untilS)}</span>
            </p>
            <p><strong>${actor}</strong>: ${reason}</p>
            <${Added} ...${{ number, orders, run }} />
            ${mayControl &&
            html`
              <${OrderButton}
                label="End now"
                title="End override ${number}"
                effect="What is beneath it acts from the trainer's next batch on."
                send=${end(number)}
              />
            `}
          </li>
        `,
      )}
    </ul>
  `;
}

/** What it changes, beside what is beneath it. */
function entriesOf(changes, configured) {
  return Object.keys(changes).map((name) => [name, configured[name], changes[name]]);
}

function Added({ number, orders, run }) {
  const order = orders?.find((one) => one.kind === "override_added" && one.number === number);
  return order && html`<${Fate} ...${{ order, run }} />`;
}

function standing(number, { settings, acting_overrides: acting }) {
  if (settings.kill) return "rests while the run is killed";
  return acting.includes(number)
    ? "acts"
    : "contradicts the settings or another override: nothing is injected until it ends";
}
