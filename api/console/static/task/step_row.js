/** The figures of one step in the table. Pure; the time is given. */

import { list, object } from "./payload.js";
import { runTime } from "./graph_text.js";

/**
 * @typedef {import("./reduce.js").StepState} StepState
 *
 * @typedef {object} StepRow
 * @property {StepState} step
 * @property {string} name
 * @property {string} arm
 * @property {string} state
 * @property {number} attempts
 * @property {number|null} waitMs how long it waited for a worker, a person or its next attempt; null: not yet
 * @property {number|null} runMs
 * @property {number|null} dollars null: not known
 * @property {string} error
 */

/**
 * @param {StepState} step
 * @param {{now: number, costs: Map<string, number|null>}} given costs: see `costsOf`
 * @returns {StepRow}
 */
export function rowOf(step, { now, costs }) {
  const key = costKey(step.name, step.round);
  return {
    step,
    name: step.name,
    arm: step.arm ?? "",
    state: step.state,
    attempts: step.attempts.length,
    waitMs: waitTime(step, now),
    runMs: runTime(step, now),
    dollars: costs.has(key) ? (costs.get(key) ?? null) : 0,
    error: errorOf(step),
  };
}

/**
 * Return how long a step was ready and did not run.
 * @param {StepState} step
 * @param {number} now
 * @returns {number|null}
 */
export function waitTime(step, now) {
  const began = step.spread?.heldAt ?? step.heldAt ?? step.queuedAt;
  if (began === null) return null;
  const until = step.endedAt ?? now;
  return Math.max(0, until - began - (runTime(step, now) ?? 0));
}

/**
 * @param {StepState} step
 * @returns {string}
 */
function errorOf(step) {
  if (step.error) return step.error.message || step.error.code;
  return step.state === "skipped" ? (step.reason ?? "a step before it did not finish") : "";
}

/**
 * Return the cost of each step's model calls; null if that of one call is not known.
 * @param {readonly import("./facts.js").Decision[]} calls
 * @returns {Map<string, number|null>} by `costKey`
 */
export function costsOf(calls) {
  const costs = new Map();
  for (const { round, data } of calls) {
    // an item counts for its step
    const key = costKey(String(data.step).split("[")[0] ?? "", round);
    for (const call of data.attempts === undefined ? [data] : list(data.attempts).map(object)) {
      if (call.called === false) continue;
      const before = costs.get(key) ?? (costs.has(key) ? null : 0);
      const known = call.cost_dollars !== null && call.cost_dollars !== undefined;
      costs.set(key, before === null || !known ? null : before + Number(call.cost_dollars));
    }
  }
  return costs;
}

/**
 * @param {string} name
 * @param {number} round
 */
function costKey(name, round) {
  return `${round} ${name}`;
}

/**
 * @typedef {"plan"|"name"|"arm"|"state"|"attempts"|"wait"|"run"|"cost"|"error"} Sort
 */

const URGENCY = ["failed", "waiting", "running", "queued", "held", "blocked", "skipped", "cancelled", "done"];

/** @type {Record<string, (row: StepRow) => number|string>} */
const KEYS = {
  name: (row) => row.name,
  arm: (row) => row.arm,
  state: (row) => URGENCY.indexOf(row.state),
  attempts: (row) => row.attempts,
  wait: (row) => row.waitMs ?? -1,
  run: (row) => row.runMs ?? -1,
  // unknown costs are the first to look at
  cost: (row) => row.dollars ?? Number.MAX_VALUE,
  error: (row) => row.error,
};

/**
 * Return the rows in order; those that are equal stay in the plan's order.
 * @param {readonly StepRow[]} rows in the plan's order
 * @param {{sort: string|null, isDown: boolean, errorsFirst: boolean, notDone: boolean}} wanted
 * @returns {StepRow[]}
 */
export function arranged(rows, { sort, isDown, errorsFirst, notDone }) {
  const shown = notDone ? rows.filter((row) => row.state !== "done" && row.state !== "skipped") : [...rows];
  const key = sort !== null && Object.hasOwn(KEYS, sort) ? KEYS[sort] : undefined;
  const direction = isDown ? -1 : 1;
  if (key) shown.sort((one, other) => direction * compared(key(one), key(other)));
  return errorsFirst ? shown.sort((one, other) => Number(isCalm(one)) - Number(isCalm(other))) : shown;
}

/** @param {StepRow} row */
function isCalm(row) {
  return row.state !== "failed" && row.step.error === null && !row.step.items?.byState.failed;
}

/**
 * @param {number|string} one
 * @param {number|string} other
 */
function compared(one, other) {
  return one < other ? -1 : Number(one > other);
}
