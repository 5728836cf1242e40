// What to do on a monitor that has no runs yet.

import { html } from "../dom.js";

const TRAINER = `from trainer import GRPOConfig, GRPOTrainer  # drop-ins for TRL's

args = GRPOConfig(..., monitor_url="${location.origin}", run_id="my-run-1")`;
const TOY = `acr-train examples/toy.yaml --method avspo --monitor_url ${location.origin}`;

export function Beginning() {
  return html`
    <section class="panel beginning">
      <h2>No runs yet</h2>
      <p>A run appears here with its first report. Let your TRL trainer report to this monitor:</p>
      <pre><code>${TRAINER}</code></pre>
      <p>Or watch a small model that trains on this machine for half a minute:</p>
      <pre><code>${TOY}</code></pre>
      <p class="hint">
        <code>acr demo</code> does the same with a monitor of its own. Logs of a training that is
        over: <code>acr diagnose FOLDER</code>.
      </p>
    </section>
  `;
}
