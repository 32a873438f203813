/** Shows an action of the console as the shell lines that do the same. */

import { html, useState } from "../vendor.js";

export { curlOf, octollmOf, shellWord } from "./shell_line.js";

/**
 * A part to open that has a curl line, an octollm line, and a button to copy each.
 * @param {{curl?: string|null, cli?: string|null, open?: boolean, summary?: string}} props a line that is null is left
 *   out
 */
export function CommandLines({ curl = null, cli = null, open = false, summary = "As a command" }) {
  if (!curl && !cli) return null;
  return html`<details class="command-lines" open=${open}>
    <summary>${summary}</summary>
    ${cli && html`<${CommandLine} name="octollm" text=${cli} />`}
    ${curl && html`<${CommandLine} name="curl" text=${curl} />`}
  </details>`;
}

/** @param {{name: string, text: string}} props */
function CommandLine({ name, text }) {
  const [copied, setCopied] = useState("");
  /** @param {Event} event */
  const copy = async (event) => {
    const line = /** @type {HTMLElement} */ (event.currentTarget).parentElement?.querySelector("code");
    try {
      await navigator.clipboard.writeText(text);
      setCopied("Copied");
    } catch {
      // a page without TLS has no clipboard: mark the line, so that Ctrl+C copies it
      if (line) globalThis.getSelection()?.selectAllChildren(line);
      setCopied("Press Ctrl+C");
    }
  };
  return html`<div class="command-line">
    <pre tabindex="0" role="group" aria-label=${`${name} line`}><code>${text}</code></pre>
    <button type="button" onClick=${copy} aria-label=${`Copy the ${name} line`}>Copy</button>
    <span class="command-copied" role="status">${copied}</span>
  </div>`;
}
