// The levers: mode of injection, kill and re-arm, commands to the trainer, and how each stands.

import { announce } from "../announce.js";
import { runPath, send } from "../api.js";
import { html, useEffect, useRef } from "../dom.js";
import { useCan } from "../me.js";
import { OrderButton } from "./dialog.js";
import { deed, Order } from "./order.js";
import { fate, useTrail } from "./trail.js";

const MODES = {
  off: "Nothing is injected from the trainer's next batch on. Its own parameters stay as requested.",
  shadow: "From the trainer's next batch on everything is decided and reported, and nothing is touched.",
  active: "From the trainer's next batch on collapsed groups are injected when the controller says so.",
};
const KILL =
  "Plain GRPO from the trainer's next batch on: nothing is injected, no override acts, and the " +
  "trainer's own parameters are as it was configured. It stays so until somebody re-arms the run.";
const REARM = "Interventions may act again, with the settings as they are now.";
const REMOVE_FILE = "The kill came from a file next to the trainer: remove that first. ";
const SAVE = "The trainer saves a checkpoint at the end of its optimizer step.";
const STOP = "The trainer saves a checkpoint at the end of its optimizer step, and ends the training.";

const KILL_FILE_ACTOR = "kill file";

export function Steering({ run, state }) {
  const { orders } = useTrail(run, state);
  const mayControl = useCan("control");
  useAnnounced(orders, run);
  const { kill, mode: configured } = run.settings;

  const lever = (label, effect, path, { fixed = {}, method = "POST", ...others } = {}) => html`
    <${OrderButton}
      key=${label}
      ...${{ label, title: label, effect, isDisabled: !mayControl, ...others }}
      send=${async (signed) => {
        await send(method, runPath(run.id, path), { ...fixed, ...signed });
        await state.reload();
      }}
    />
  `;
  const modes = Object.entries(MODES).map(([mode, effect]) =>
    lever(mode, effect, "settings", {
      title: `Switch to ${mode}`,
      method: "PATCH",
      fixed: { mode },
      isReasonRequired: true,
      isPressed: mode === configured,
    }),
  );
  const shown = newest(orders ?? [], run.settings);
  const rearm = (kill?.actor === KILL_FILE_ACTOR ? REMOVE_FILE : "") + REARM;

  return html`
    <p class="controller">${run.controller}</p>
    <div class="levers">
      <div class="modes" role="group" aria-label="Mode of injection">${modes}</div>
      ${run.acting_mode === "locked" && lever("Re-arm", rearm, "rearm", { isReasonRequired: true })}
      ${!kill && lever("Kill", KILL, "kill", { title: "Kill all interventions", isDanger: true })}
      ${run.ended === null &&
      html`
        ${lever("Save checkpoint", SAVE, "commands", { fixed: { command: "save" } })}
        ${lever("Stop training", STOP, "commands", { fixed: { command: "stop" }, isDanger: true })}
      `}
    </div>
    ${!mayControl && html`<p class="hint">Read-only: steering takes a token with the scope control.</p>`}
    ${shown.length > 0 &&
    html`
      <ul class="orders" aria-label="Newest orders">
        ${shown.map((order) => html`<${Order} key=${order.id} ...${{ order, run }} />`)}
      </ul>
    `}
  `;
}

/** The newest order, and before it what stands: the kill in force, the command not taken up. */
function newest(orders, { kill, command, overrides }) {
  const wanted = [
    orders[0],
    kill && orders.find((one) => one.kind === "killed"),
    command && orders.find((one) => one.new.command?.number === command.number),
  ];
  // Overrides that stand are told in their own place.
  const isElsewhere = ({ kind, number }) =>
    kind === "override_added" && overrides.some((one) => one.number === number);
  return orders.filter((one) => wanted.includes(one) && !isElsewhere(one));
}

/** Tell who does not see it of a new order, and of what becomes of it. */
function useAnnounced(orders, run) {
  const words = orders && told(orders[0], run);
  const before = useRef(null);
  useEffect(() => {
    if (before.current !== null && words !== before.current) announce(words);
    before.current = words;
  }, [words]);
}

function told(order, run) {
  return order ? `${order.actor} ${deed(order)}: ${fate(order, run)[1]}` : "";
}
