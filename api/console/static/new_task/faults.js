// The faults of one field, beside it.
import { html } from "../vendor.js";

const MOST = 10;

/** @param {{messages: string[], id?: string}} props */
export function Faults({ messages, id }) {
  if (!messages.length) return null;
  return html`<ul class="faults" id=${id ?? null}>
    ${messages.slice(0, MOST).map((message) => html`<li>${message}</li>`)}
    ${messages.length > MOST ? html`<li>and ${messages.length - MOST} more</li>` : null}
  </ul>`;
}
