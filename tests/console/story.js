/** Tells the life of a task in few words, for tests: events with times in milliseconds since its submission. */

import { reduceAll } from "../../api/console/static/task/reduce.js";

/** When every story begins. */
export const BEGIN = Date.parse("2026-11-29T10:00:00.000Z");

/**
 * Return the state of a task after these events.
 * @param {...[number, string, Record<string, any>?]} lines when it was, the type, and the data; round 1 unless they tell
 */
export function story(...lines) {
  return reduceAll(eventsOf(lines));
}

/**
 * @param {[number, string, Record<string, any>?][]} lines
 */
export function eventsOf(lines) {
  return lines.map(([at, type, data], index) => ({
    seq: index + 1,
    timestamp: new Date(BEGIN + at).toISOString(),
    type,
    data: { round: 1, ...data },
  }));
}

/**
 * Return the data of task.planned.
 * @param {Record<string, string[]>} steps what each step depends on
 * @param {Record<string, any>} [more]
 */
export function plan(steps, more = {}) {
  const told = Object.entries(steps).map(([step, sources]) => ({ step, arm: "executor", depends_on: sources }));
  return { steps: told, mode: "client", plan_id: "plan_1", ...more };
}

/**
 * Return the lines of a planner that begins after 100 ms and is done after 200.
 * @param {Record<string, string[]>} steps
 * @returns {[number, string, Record<string, any>?][]}
 */
export function planned(steps) {
  return [
    [0, "task.submitted"],
    [100, "step.started", { step: "$plan", attempt: 1, kind: "plan", round: 0 }],
    [200, "task.planned", plan(steps)],
  ];
}

/**
 * Return the lines of an attempt that is queued, started and completed.
 * @param {string} step
 * @param {[number, number, number]} times
 * @param {Record<string, any>} [more]
 * @returns {[number, string, Record<string, any>?][]}
 */
export function done(step, [queuedAt, startedAt, endedAt], more = {}) {
  const data = { step, attempt: 1, ...more };
  const queued = /** @type {[number, string, Record<string, any>]} */ ([queuedAt, "step.queued", data]);
  return [
    ...(step.startsWith("$") ? [] : [queued]),
    [startedAt, "step.started", data],
    step === "$judge"
      ? [endedAt, "judge.verdict", { decision: "passed", findings: [], faulty: [], ...more }]
      : [endedAt, "step.completed", { ...data, duration_ms: endedAt - startedAt }],
  ];
}
