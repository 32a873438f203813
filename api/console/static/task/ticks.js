/** The ticks of a time axis: round distances from the beginning, in units that are read at a glance. */

import { xOf } from "./time_scale.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** The distances that ticks may have, in milliseconds. */
const STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR),
];
/** The least distance of two labels in pixels. */
const LEAST_PIXELS = 76;

/** @typedef {{x: number, time: number, label: string}} Tick */

/**
 * Return the ticks of a scale, from left to right; there is none inside a gap.
 * @param {import("./time_scale.js").TimeScale} scale
 * @param {number} origin the time that is 0
 * @returns {Tick[]}
 */
export function ticksOf(scale, origin) {
  const step = stepOf(LEAST_PIXELS / scale.pixelsPerMs);
  /** @type {Tick[]} */
  const ticks = [];
  for (const piece of scale.pieces) {
    if (piece.isGap) continue;
    const first = Math.ceil((piece.from - origin) / step);
    const last = Math.floor((piece.to - origin) / step);
    for (let number = first; number <= last; number++) {
      const time = origin + number * step;
      const x = xOf(scale, time);
      if (x - (ticks.at(-1)?.x ?? -Infinity) >= LEAST_PIXELS - 1) {
        ticks.push({ x, time, label: offsetLabel(number * step, step) });
      }
    }
  }
  return ticks;
}

/**
 * Return a distance from the beginning, as exact as the ticks' distance needs: `2.5 s`, `1 m 30 s`, `2 h`, `1 d 06 h`.
 * @param {number} offset milliseconds
 * @param {number} step the distance of two ticks in milliseconds
 * @returns {string}
 */
export function offsetLabel(offset, step) {
  if (offset < 0) return `-${offsetLabel(-offset, step)}`;
  const digits = Math.max(0, Math.min(3, Math.ceil(-Math.log10(step / SECOND))));
  if (offset < MINUTE) return step < 10 && offset < SECOND ? `${offset} ms` : `${(offset / SECOND).toFixed(digits)} s`;
  const days = Math.floor(offset / DAY);
  const hours = Math.floor((offset % DAY) / HOUR);
  const minutes = Math.floor((offset % HOUR) / MINUTE);
  const seconds = (offset % MINUTE) / SECOND;
  const isLong = offset >= DAY;
  const parts = [
    { unit: "d", text: String(days), isShown: isLong },
    { unit: "h", text: padded(hours, isLong), isShown: offset >= HOUR },
    { unit: "m", text: padded(minutes, offset >= HOUR), isShown: step < HOUR },
    { unit: "s", text: seconds.toFixed(digits).padStart(digits ? digits + 3 : 2, "0"), isShown: step < MINUTE },
  ];
  return parts
    .filter((part) => part.isShown)
    .map((part) => `${part.text} ${part.unit}`)
    .join(" ");
}

/**
 * @param {number} least
 * @returns {number} the smallest round distance that is at least this long
 */
function stepOf(least) {
  const step = STEPS.find((candidate) => candidate >= least);
  return step ?? Math.ceil(least / DAY) * DAY;
}

/**
 * @param {number} value
 * @param {boolean} isPadded
 * @returns {string}
 */
function padded(value, isPadded) {
  return isPadded ? String(value).padStart(2, "0") : String(value);
}
