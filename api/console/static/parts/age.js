// How long ago something was, kept up to date while the tab is visible.
import { age, clock, duration } from "../format.js";
import { html, signal } from "../vendor.js";

const TICK_MS = 1000;

/** The time, once a second. @type {import("../vendor.js").Signal<number>} */
const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, TICK_MS);

/**
 * @param {{time: string | null | undefined}} props ISO 8601; its title is the exact time
 */
export function Age({ time }) {
  return html`<time datetime=${time} title=${clock(time)}>${age(time, now.value)}</time>`;
}

/**
 * How long something has run since a time.
 * @param {{since: string}} props ISO 8601
 */
export function Elapsed({ since }) {
  const seconds = Math.max(0, Math.floor((now.value - Date.parse(since)) / 1000));
  return html`<span title=${`since ${clock(since)}`}>${duration(seconds * 1000)}</span>`;
}
