// How a run stands, in a word.

import { Badge } from "./badge.js";
import { html } from "./dom.js";

export const STANDINGS = ["training", "silent", "waiting", "ended", "deleted"];

const SILENCE_RULE = "reports_stopped";

/** One of STANDINGS, as the monitor's list means them. */
export function standing(run) {
  if (run.deleted) return "deleted";
  if (run.ended !== null) return "ended";
  if (run.step === 0 && run.last_report_at_s === null) return "waiting";
  return run.verdicts.some((verdict) => verdict.rule === SILENCE_RULE) ? "silent" : "training";
}

const ABOUT = {
  training: ["fine", "Reports arrive"],
  silent: ["critical", "Reports have stopped, and nobody said that training is over"],
  waiting: ["info", "Nothing was reported yet"],
  ended: ["info", "Its trainer said that training is over"],
  deleted: ["info", "Hidden, and takes no reports, until somebody restores it"],
};

/** The word, and beside it what keeps every intervention from acting: a kill or a lock. */
export function Standing({ run }) {
  const word = standing(run);
  const [level, title] = ABOUT[word];
  return html`
    <span class="standing">
      <${Badge} level=${level} title=${title}>${word === "ended" ? run.ended : word}<//>
      ${run.settings.kill &&
      html`<${Badge} level="warning" title="Plain GRPO: no intervention, no override">killed<//>`}
      ${!run.settings.kill &&
      run.acting_mode === "locked" &&
      html`<${Badge} level="warning" title="Injection showed no benefit; a person has to re-arm">
        locked
      <//>`}
    </span>
  `;
}
