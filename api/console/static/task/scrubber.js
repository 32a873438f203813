/** Shows which event is the last one that counts, and moves it: by dragging, by keys, and back to the live state. */

import { clock, duration } from "../format.js";
import { html } from "../vendor.js";
import { object, text } from "./payload.js";

/**
 * @param {{log: import("./event_log.js").EventLog, n: number, size: number, isLive: boolean,
 *   onShow: (n: number|null) => void}} props n: from 0 to size; onShow(null): the live state
 */
export function Scrubber({ log, n, size, isLive, onShow }) {
  const event = log.events[n - 1];
  const told = eventText(event, log.events[0]);
  const onInput = (/** @type {any} */ change) => {
    const wanted = Number(change.currentTarget.value);
    onShow(wanted === size && isLive ? null : wanted);
  };
  return html`<section class="scrubber" aria-label="Time">
    <button type="button" disabled=${n <= 0} onClick=${() => onShow(n - 1)} aria-label="One event back" title="One event back">◂</button>
    <input
      type="range"
      min="0"
      max=${size}
      step="1"
      value=${n}
      aria-label="Event"
      aria-valuetext=${`event ${n} of ${size}, ${told}`}
      onInput=${onInput}
    />
    <button type="button" disabled=${n >= size} onClick=${() => onShow(n + 1)} aria-label="One event forward" title="One event forward">▸</button>
    <button type="button" class="live" aria-pressed=${isLive ? "true" : "false"} onClick=${() => onShow(isLive ? n : null)}>Live</button>
    <p class="scrubber-told" title=${event ? clock(event.timestamp) : null}>
      <span class="number">${n} / ${size}</span> <span>${told}</span>
    </p>
  </section>`;
}

/**
 * Return what an event was, in words, and when.
 * @param {import("./reduce.js").TaskEvent|undefined} event
 * @param {import("./reduce.js").TaskEvent|undefined} first the task's first event
 * @returns {string}
 */
export function eventText(event, first) {
  if (!event) return "before the first event";
  const data = object(event.data);
  const step = text(data.step);
  const after = first ? Date.parse(event.timestamp) - Date.parse(first.timestamp) : Number.NaN;
  const when = Number.isFinite(after) && after >= 0 ? ` after ${duration(after)}` : "";
  return `${event.type}${step ? ` ${step}` : ""}${when}`;
}
