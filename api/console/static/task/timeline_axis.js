/** The time axis of the timeline: ticks, compressed stretches, the scrubber's moment, and a range chosen by dragging. */

import { clock, duration } from "../format.js";
import { html, useRef, useState } from "../vendor.js";
import { ticksOf } from "./ticks.js";
import { timeAt, xOf } from "./time_scale.js";

/**
 * @typedef {import("./time_scale.js").TimeScale} TimeScale
 * @typedef {{at: number, label: string}} Mark a moment with a name, such as the beginning of a round
 */

const AXIS_PIXELS = 36;
/** What a label may take. */
const LABEL_PIXELS = 60;
/** A shorter drag is a click. */
const LEAST_DRAG = 6;

/**
 * The labels above the rows.
 * @param {{scale: TimeScale, origin: number, marks: Mark[]}} props origin: the time that is 0
 */
export function Axis({ scale, origin, marks }) {
  return html`
    <svg class="tl-axis" width=${scale.width} height=${AXIS_PIXELS} role="img" aria-label=${axisLabel(scale)}>
      ${ticksOf(scale, origin).map(
        (tick) => html`
          <g>
            <title>${clock(tick.time)}</title>
            <line class="tl-tick" x1=${tick.x} x2=${tick.x} y1="14" y2="20" />
            <text x=${tick.x} y="11" text-anchor=${anchorOf(tick.x, scale)}>${tick.label}</text>
          </g>
        `,
      )}
      ${marks.map((mark) => html`<text x=${xOf(scale, mark.at)} y="32" text-anchor=${anchorOf(xOf(scale, mark.at), scale)}>${mark.label}</text>`)}
      ${scale.gaps.map(
        (gap) => html`
          <g class="tl-gap-label">
            <title>${`compressed: ${duration(gap.to - gap.from)}, ${clock(gap.from)} to ${clock(gap.to)}`}</title>
            <text x=${(gap.x1 + gap.x2) / 2} y="32" text-anchor=${anchorOf((gap.x1 + gap.x2) / 2, scale)}>‖${duration(gap.to - gap.from)}‖</text>
          </g>
        `,
      )}
    </svg>
  `;
}

/**
 * What lies behind all rows: lines of the ticks, compressed stretches, and moments.
 * @param {{scale: TimeScale, origin: number, moment: number|null, marks: Mark[], range: {x1: number, x2: number}|null}} props
 */
export function Backdrop({ scale, origin, moment, marks, range }) {
  const line = (/** @type {number} */ x, /** @type {string} */ name) =>
    html`<line class=${name} x1=${x} x2=${x} y1="0" y2="100%" />`;
  return html`
    <svg class="tl-back" width=${scale.width} aria-hidden="true">
      ${scale.gaps.map((gap) => html`<rect class="tl-gap" x=${gap.x1} y="0" width=${gap.x2 - gap.x1} height="100%" />`)}
      ${ticksOf(scale, origin).map((tick) => line(tick.x, "tl-grid"))}
      ${marks.map((mark) => line(xOf(scale, mark.at), "tl-round"))}
      ${moment === null ? null : line(xOf(scale, moment), "tl-now")}
      ${range ? html`<rect class="tl-range" x=${range.x1} y="0" width=${range.x2 - range.x1} height="100%" />` : null}
    </svg>
  `;
}

/**
 * Let a drag over the pictures choose a range of time. A drag that goes up or down scrolls.
 * @param {TimeScale} scale
 * @param {(range: {from: number, to: number}) => void} onRange
 * @returns {{range: {x1: number, x2: number}|null, handlers: Record<string, (event: PointerEvent) => void>}}
 */
export function useRange(scale, onRange) {
  const [range, setRange] = useState(/** @type {{x1: number, x2: number}|null} */ (null));
  const begin = useRef(/** @type {{x: number, left: number}|null} */ (null));
  const place = (/** @type {PointerEvent} */ event) =>
    Math.min(scale.width, Math.max(0, event.clientX - (begin.current?.left ?? 0)));
  const handlers = {
    onPointerDown: (/** @type {PointerEvent} */ event) => {
      const picture = /** @type {Element} */ (event.target).closest(".tl-picture");
      if (event.button !== 0 || !picture) return;
      const left = picture.getBoundingClientRect().left;
      begin.current = { x: event.clientX - left, left };
    },
    onPointerMove: (/** @type {PointerEvent} */ event) => {
      if (!begin.current) return;
      const x = place(event);
      if (!range && Math.abs(x - begin.current.x) < LEAST_DRAG) return;
      /** @type {Element} */ (event.currentTarget).setPointerCapture(event.pointerId);
      setRange({ x1: Math.min(x, begin.current.x), x2: Math.max(x, begin.current.x) });
    },
    onPointerUp: () => {
      begin.current = null;
      setRange(null);
      if (range) onRange({ from: timeAt(scale, range.x1), to: timeAt(scale, range.x2) });
    },
    onPointerCancel: () => {
      begin.current = null;
      setRange(null);
    },
  };
  return { range, handlers };
}

/**
 * @param {TimeScale} scale
 * @returns {string}
 */
function axisLabel(scale) {
  const gaps = scale.gaps.map((gap) => duration(gap.to - gap.from)).join(", ");
  return `time from ${clock(scale.from)} to ${clock(scale.to)}${gaps ? `; compressed: ${gaps}` : ""}`;
}

/**
 * @param {number} x
 * @param {TimeScale} scale
 * @returns {"start"|"middle"|"end"} so that a label at either end is inside of the picture
 */
function anchorOf(x, { width }) {
  if (x < LABEL_PIXELS / 2) return "start";
  return x > width - LABEL_PIXELS / 2 ? "end" : "middle";
}
