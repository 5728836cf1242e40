// What was typed into the settings of a run and is not sent yet, beside what others do meanwhile.

import { runPath, send } from "../api.js";
import { useEffect, useState } from "../dom.js";
import { parsed, shown } from "./fields.js";

/** Id of the form that is sent: the inputs of the settings belong to it, wherever they are. */
export const FORM = "changes";

const NOTHING = { edits: {}, since: null };

/**
 * The edits of a form that follows the run where nothing was typed.
 *
 * - `edits`: what was typed, by field; `edit(field, text)` types, `discard()` forgets it all.
 * - `changes`: what that comes to, `[{field, from, to}]`; `unclear`: fields that have to be mended first.
 * - `problems`: what is wrong, by field, in the eyes of this page or of the monitor.
 * - `since`: revision and version of the settings that were edited; null when nothing was.
 * - `isStale`: whether they are others by now.
 * - `submit(order)`: send the changes. `order` holds reason, actor, and the ends of an override;
 *   without ends they are for good, if the settings are still those that the form shows.
 * - `isSending`: until that is answered.
 * - `refused`: why they were not taken: a Problem, or null.
 * - `sent`: version of the settings that the newest change made; null before one, and after `forget()`.
 */
export function useForm(run, state, fields) {
  const [{ edits, since }, setTyped] = useState(NOTHING);
  const [isSending, setIsSending] = useState(false);
  const [refused, setRefused] = useState(null);
  const [sent, setSent] = useState(null);
  const { revision, version } = run.settings;
  // While sending, what is new may be ours.
  const isStale = since !== null && since.revision !== revision && !isSending;

  // What others change, and what the trainer made of a change, shows before the next refresh.
  useEffect(
    () =>
      state.news.subscribe((kind, data) => {
        const isChange = kind === "settings" && data.revision > revision;
        if (isChange || data.event?.kind === "change_applied") state.reload();
      }),
    [state.news, revision],
  );

  const changes = [];
  const problems = {};
  for (const field of fields) {
    if (!(field.name in edits)) continue;
    const from = run.settings[field.name];
    try {
      const to = parsed(field, edits[field.name]);
      if (to !== from) changes.push({ field, from, to });
    } catch (error) {
      problems[field.name] = error.message;
    }
  }
  const unclear = Object.keys(problems);
  for (const name of refused?.field?.split(", ") ?? []) problems[name] ??= refused.allowed;

  function edit(field, text) {
    const from = run.settings[field.name];
    const isAsBefore = text === (from === null ? "" : shown(field, from));
    setRefused(null);
    setTyped((typed) => {
      const { [field.name]: _, ...others } = typed.edits;
      const edits = isAsBefore ? others : { ...others, [field.name]: text };
      return Object.keys(edits).length ? { edits, since: typed.since ?? { revision, version } } : NOTHING;
    });
  }

  function discard() {
    setTyped(NOTHING);
    setRefused(null);
  }

  async function submit(order) {
    const settings = Object.fromEntries(changes.map(({ field, to }) => [field.name, to]));
    const ifMatch = `"r${isStale ? revision : since.revision}"`;
    setIsSending(true);
    setRefused(null);
    try {
      const { settings: made } = await ("expires_in_s" in order
        ? send("POST", runPath(run.id, "overrides"), { settings, ...order })
        : send("PATCH", runPath(run.id, "settings"), { ...settings, ...order }, { ifMatch }));
      await state.reload();
      setTyped(NOTHING);
      setSent(made.version);
    } catch (problem) {
      // If somebody was faster, the run shows who.
      if (problem.status === 412) await state.reload();
      setRefused(problem);
    }
    setIsSending(false);
  }

  const forget = () => setSent(null);
  return {
    ...{ edits, edit, discard, changes, unclear, problems, since, isStale },
    ...{ submit, isSending, refused, sent, forget },
  };
}
