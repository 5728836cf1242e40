// Who orders something and why: the two inputs that go with every order.

import { html, useState } from "../dom.js";
import { me } from "../me.js";
import { ofMachine } from "../memory.js";
import { useSignal } from "../signal.js";

const ACTOR = "acr-actor";

/** Most characters of a reason, and of a name, that the monitor takes. */
const MAX_REASON_CHARS = 500;
const MAX_ACTOR_CHARS = 128;

/**
 * `{signed, inputs}`: the inputs, and what was typed as the fields of a request.
 *
 * A token names who orders; without one the name that is typed is kept for the next time.
 */
export function useSignature({ id, isRequired = true }) {
  const [reason, setReason] = useState("");
  const [actor, setActor] = useState(ofMachine.read(ACTOR));
  const token = useSignal(me)?.name;
  const signed = () => {
    if (!token) ofMachine.keep(ACTOR, actor.trim());
    return {
      ...(reason.trim() ? { reason: reason.trim() } : {}),
      ...(!token && actor.trim() ? { actor: actor.trim() } : {}),
    };
  };
  const inputs = html`
    <div class="signature">
      <label for="${id}-reason">Reason${isRequired ? "" : " (optional)"}</label>
      <input
        id="${id}-reason"
        value=${reason}
        onInput=${(event) => setReason(event.target.value)}
        maxlength=${MAX_REASON_CHARS}
        required=${isRequired}
        pattern=${isRequired ? ".*\\S.*" : undefined}
        title="A few words, for the audit trail"
        autocomplete="off"
      />
      ${token
        ? html`<span class="hint">As</span><span>${token}</span>`
        : html`
            <label for="${id}-actor">Your name</label>
            <input
              id="${id}-actor"
              value=${actor}
              onInput=${(event) => setActor(event.target.value)}
              maxlength=${MAX_ACTOR_CHARS}
              placeholder="api"
              autocomplete="off"
            />
          `}
    </div>
  `;
  return { signed, inputs };
}
