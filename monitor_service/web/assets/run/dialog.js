// An order that is given by a button: what it does, in words, is confirmed before it is sent.

import { html, useEffect, useId, useRef, useState } from "../dom.js";
import { useSignature } from "./signature.js";

/**
 * A button, and the dialog it opens.
 *
 * @param {object} props
 * @param {string} props.label on the button.
 * @param {string} props.title of the dialog, and on the button that sends.
 * @param {string} props.effect what the order does.
 * @param {(signed: object) => Promise<void>} props.send gives the order; rejects with a Problem.
 * @param {boolean} props.isReasonRequired
 * @param {boolean} props.isDisabled
 * @param {boolean} props.isDanger
 * @param {boolean | undefined} props.isPressed of a button that shows which one holds; this one
 *   does nothing more.
 */
export function OrderButton({ label, isDisabled, isPressed, ...order }) {
  const [isOpen, setIsOpen] = useState(false);
  return html`
    <button
      type="button"
      class="button ${order.isDanger ? "danger" : ""}"
      disabled=${isDisabled}
      aria-pressed=${isPressed}
      onClick=${() => setIsOpen(!isPressed)}
    >
      ${label}
    </button>
    ${isOpen && html`<${OrderDialog} ...${order} close=${() => setIsOpen(false)} />`}
  `;
}

function OrderDialog({ title, effect, send, isReasonRequired = false, isDanger = false, close }) {
  const id = useId();
  const dialog = useRef();
  const [problem, setProblem] = useState(null);
  const [isSending, setIsSending] = useState(false);
  const { signed, inputs } = useSignature({ id, isRequired: isReasonRequired });

  useEffect(() => dialog.current.showModal(), []);

  async function submit(event) {
    event.preventDefault();
    setIsSending(true);
    setProblem(null);
    try {
      await send(signed());
      dialog.current?.close();
    } catch (refused) {
      setProblem(refused);
      setIsSending(false);
    }
  }

  return html`
    <dialog class="order" ref=${dialog} aria-labelledby="${id}-title" onClose=${close}>
      <form onSubmit=${submit}>
        <h2 id="${id}-title">${title}</h2>
        <p>${effect}</p>
        ${inputs}
        ${problem && html`<p class="problem" role="alert">${problem.message}</p>`}
        <div class="toolbar">
          <button class="button ${isDanger ? "danger" : "primary"}" disabled=${isSending}>${title}</button>
          <button type="button" class="button" onClick=${() => dialog.current.close()}>Cancel</button>
        </div>
      </form>
    </dialog>
  `;
}
