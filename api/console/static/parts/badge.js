// A state as a word with a glyph and a colour.
import { html } from "../vendor.js";

/** @type {Record<string, [tone: string, glyph: string]>} */
const LOOKS = {
  accepted: ["idle", "○"],
  allowed: ["good", "✓"],
  approved: ["good", "✓"],
  blocked: ["idle", "◌"],
  cancelled: ["idle", "⊘"],
  completed: ["good", "✓"],
  denied: ["bad", "⊘"],
  done: ["good", "✓"],
  edited: ["good", "✎"],
  expired: ["bad", "⌛"],
  failed: ["bad", "✗"],
  held: ["hold", "‖"],
  live: ["good", "✓"],
  not_checked: ["idle", "?"],
  paused: ["hold", "‖"],
  pending: ["hold", "◔"],
  planning: ["busy", "✎"],
  processing: ["busy", "▶"],
  queued: ["idle", "○"],
  rejected: ["bad", "✗"],
  revoked: ["idle", "⊘"],
  running: ["busy", "▶"],
  skipped: ["idle", "⇢"],
  waiting: ["hold", "◔"],
  withdrawn: ["idle", "⊘"],
};

/**
 * Return the colour of a state, as a class, and its sign.
 * @param {string} state
 * @returns {[tone: string, glyph: string]}
 */
export function lookOf(state) {
  return (Object.hasOwn(LOOKS, state) && LOOKS[state]) || ["idle", "•"];
}

/**
 * @param {{state: string, label?: string, title?: string}} props label: the word to show instead of the state
 */
export function Badge({ state, label, title }) {
  const [tone, glyph] = lookOf(state);
  return html`<span class=${`badge ${tone}`} title=${title}
    ><span aria-hidden="true">${glyph}</span>${label ?? state.replaceAll("_", " ")}</span
  >`;
}
