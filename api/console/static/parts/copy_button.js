// A button that puts a text on the clipboard and says whether it did.
import { html, useState } from "../vendor.js";

/** @param {{text: string, label: string}} props label: what is copied, for screen readers */
export function CopyButton({ text, label }) {
  const [said, setSaid] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      // a page without TLS has no clipboard
      setSaid("The browser refused; mark the text and press Ctrl+C");
    }
  };
  return html`<button type="button" class="quiet" aria-label=${label} onClick=${copy}>Copy</button>
    <span role="status" class="quiet">${said}</span>`;
}
