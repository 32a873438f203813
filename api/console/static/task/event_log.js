/**
 * The events of one task, and its state after any of them. Checkpoints let the scrubber go back at the cost of the
 * events since the last one.
 */

import { initial, reduceAll } from "./reduce.js";

const SPACING = 100;
const MOST_CHECKPOINTS = 64;

/**
 * @typedef {import("./reduce.js").State} State
 * @typedef {import("./reduce.js").TaskEvent} TaskEvent
 */

/** The events that are known, numbered from 1 without a gap. */
export class EventLog {
  constructor() {
    /** @type {TaskEvent[]} */
    this.events = [];
    /** @type {State} the latest one that was asked for */
    this.last = initial();
    /** @type {State[]} each after a multiple of `spacing` events */
    this.checkpoints = [this.last];
    this.spacing = SPACING;
  }

  /** @returns {number} the number of the last event */
  get size() {
    return this.events.length;
  }

  /**
   * Add events that follow those that are known; those that are known are left out.
   * @param {readonly TaskEvent[]} events in the order of their numbers; those without a number are left out
   * @returns {boolean} false: events are missing before some of these, which were not added
   */
  add(events) {
    for (const event of events) {
      if (!Number.isInteger(event?.seq) || event.seq <= this.size) continue;
      if (event.seq !== this.size + 1) return false;
      this.events.push(event);
    }
    return true;
  }

  /**
   * Return the state after the first n events.
   * @param {number} n from 0 to `size`; others are taken for the nearest of these
   * @returns {State}
   */
  stateAt(n) {
    const to = Math.min(this.size, Math.max(0, Math.trunc(n) || 0));
    const place = Math.min(Math.floor(to / this.spacing), this.checkpoints.length - 1);
    let from = /** @type {State} */ (this.checkpoints[place]);
    if (this.last.seq <= to && this.last.seq > from.seq) from = this.last;
    while (from.seq < to) {
      const next = Math.min(to, (Math.floor(from.seq / this.spacing) + 1) * this.spacing);
      from = reduceAll(this.events.slice(from.seq, next), { from });
      if (next === this.checkpoints.length * this.spacing) this.keep(from);
    }
    this.last = from;
    return from;
  }

  /**
   * Keep a state as a checkpoint; every second one is dropped when there are too many.
   * @param {State} state
   */
  keep(state) {
    this.checkpoints.push(state);
    if (this.checkpoints.length <= MOST_CHECKPOINTS) return;
    this.checkpoints = this.checkpoints.filter((_, place) => place % 2 === 0);
    this.spacing *= 2;
  }
}
