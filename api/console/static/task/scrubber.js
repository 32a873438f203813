/** Shows which event is the last one that counts, and moves it: by dragging, by keys, and back to the live state. */

import { clock, duration } from "../format.js";
import { html, useMemo } from "../vendor.js";
import { object, text } from "./payload.js";

/**
 * @param {{log: import("./event_log.js").EventLog, n: number, size: number, isLive: boolean,
 *   onShow: (n: number|null) => void}} props n: from 0 to size; onShow(null): the live state
 */
export function Scrubber({ log, n, size, isLive, onShow }) {
  const event = log.events[n - 1];
  const told = eventText(event, log.events[0]);
  // the place of the last event is the live one
  const show = (/** @type {number} */ wanted) => onShow(wanted >= size ? null : wanted);
  const onInput = (/** @type {any} */ change) => show(Number(change.currentTarget.value));
  return html`<section class="scrubber" aria-label="Time">
    <button type="button" disabled=${n <= 0} onClick=${() => show(n - 1)} aria-label="One event back" title="One event back">◂</button>
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
    <button type="button" disabled=${n >= size} onClick=${() => show(n + 1)} aria-label="One event forward" title="One event forward">▸</button>
    <button type="button" class="live" aria-pressed=${isLive ? "true" : "false"} onClick=${() => onShow(isLive ? n : null)}>Live</button>
    <${Marks} log=${log} size=${size} />
    <p class="scrubber-told" title=${event ? clock(event.timestamp) : null}>
      <span class="number">${n} / ${size}</span> <span>${told}</span>
    </p>
  </section>`;
}

/** @type {Record<string, string>} */
const TONES = {
  "step.failed": "bad",
  "task.failed": "bad",
  "step.retrying": "hold",
  "step.outcome_unknown": "bad",
  "approval.requested": "hold",
  "approval.decided": "hold",
  "task.planned": "busy",
  "task.repair": "busy",
  "task.replan": "busy",
  "judge.verdict": "busy",
  "task.completed": "good",
};
const PLACES = 500;

/**
 * Marks where failures, questions, plans and verdicts are; the slider's text says the same of the chosen event.
 * @param {{log: import("./event_log.js").EventLog, size: number}} props
 */
function Marks({ log, size }) {
  const marks = useMemo(() => marksOf(log.events), [size]);
  return html`<svg class="scrubber-marks" viewBox=${`0 0 ${PLACES} 6`} preserveAspectRatio="none" aria-hidden="true">
    ${marks.map(([x, tone]) => html`<rect key=${x} class=${tone} x=${x - 1} y="0" width="2" height="6" />`)}
  </svg>`;
}

/**
 * @param {readonly import("./reduce.js").TaskEvent[]} events
 * @returns {[place: number, tone: string][]} at most one mark a place, that of a failure first
 */
export function marksOf(events) {
  /** @type {Map<number, string>} */
  const marks = new Map();
  for (const { seq, type } of events) {
    const tone = Object.hasOwn(TONES, type) ? TONES[type] : undefined;
    if (tone === undefined) continue;
    const place = Math.round((seq / events.length) * PLACES);
    if (marks.get(place) !== "bad") marks.set(place, tone);
  }
  return [...marks];
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
