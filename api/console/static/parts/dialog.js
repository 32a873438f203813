// A modal dialog: the browser's own, which keeps the focus inside and gives it back.
import { html, useEffect, useId, useRef } from "../vendor.js";

/**
 * Open as long as it is rendered; Escape and a click beside it call onClose.
 * @param {{title: string, onClose: () => void, children?: unknown, actions?: unknown}} props
 */
export function Dialog({ title, onClose, children, actions }) {
  const element = /** @type {import("../vendor.js").RefObject<HTMLDialogElement | null>} */ (useRef(null));
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  const onCancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    onClose();
  };
  const onClick = (/** @type {Event} */ event) => {
    if (event.target === element.current) onClose();
  };
  return html`
    <dialog ref=${element} aria-labelledby=${id} onCancel=${onCancel} onClick=${onClick}>
      <h2 id=${id}>${title}</h2>
      ${children}
      <div class="actions">
        ${actions}
        <button type="button" onClick=${onClose}>Close</button>
      </div>
    </dialog>
  `;
}
