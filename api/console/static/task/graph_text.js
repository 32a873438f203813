/** What a graph says of a step: the words in its box, and the sentence that stands for it. Pure; times are given. */

import { count, duration } from "../format.js";
import { MOST_CELLS } from "./graph_structure.js";

/**
 * @typedef {import("./reduce.js").StepState} StepState
 *
 * @typedef {object} Box
 * @property {string} name
 * @property {string} does the arm, or the arm and its action
 * @property {string|null} state null: the step of a plan that does not run
 * @property {string} told state, run time and attempt in words
 * @property {string} items "3/5", or nothing
 * @property {string} label all of it in words, for screen readers
 * @property {number|null} percent
 * @property {boolean} isReused it has the result of an earlier round or task
 * @property {{name: string, state: string}[]} cells items that are shown one by one
 * @property {string[]} faults what is wrong with it
 */

/**
 * Return what is said of a step of a task.
 * @param {StepState} step
 * @param {{now: number, round: number, isOpen?: boolean, after?: readonly string[]}} given now: milliseconds; round:
 *   the one that is shown; isOpen: whether its items are shown
 * @returns {Box}
 */
export function boxOf(step, { now, round, isOpen = false, after = step.dependsOn }) {
  const done = step.items ? (step.items.byState.done ?? 0) : 0;
  const items = step.items ? `${done}/${step.items.count}` : "";
  const reuse = reuseOf(step, round);
  const attempts = step.attempts.length;
  const ran = runTime(step, now);
  const told = [stateOf(step), ran === null ? "" : duration(ran), attempts > 1 ? `attempt ${attempts}` : "", reuse];
  return {
    name: step.name,
    does: step.arm ?? "",
    state: step.state,
    told: told.filter(Boolean).join(" · "),
    items,
    label: sentence([
      step.name,
      step.arm ? `arm ${step.arm}` : "",
      stateOf(step),
      attempts > 1 ? `attempt ${attempts}` : "",
      step.items ? `${done} of ${count(step.items.count, "item")} done` : "",
      reuse,
      after.length > 0 ? `after ${after.join(", ")}` : "",
    ]),
    percent: step.state === "running" ? step.percent : null,
    isReused: reuse !== "",
    cells: isOpen ? cellsOf(step) : [],
    faults: [],
  };
}

/**
 * Return what is said of a step of a plan that does not run.
 * @param {any} step {id, arm, action, plan, for_each, when, approval}
 * @param {readonly string[]} faults
 * @param {readonly string[]} after
 * @returns {Box}
 */
export function planBoxOf(step, faults, after) {
  const does = step.plan ? `recipe ${step.plan}` : [step.arm, step.action].filter(Boolean).join(".");
  const notes = [
    step.for_each === undefined || step.for_each === null ? "" : "for each item",
    step.when ? "if its condition is met" : "",
    step.approval ? "asks a person" : "",
  ].filter(Boolean);
  const wrong = faults.length > 0 ? count(faults.length, "fault") : "";
  return {
    name: String(step.id),
    does,
    state: null,
    told: [wrong, ...notes].filter(Boolean).join(" · "),
    items: "",
    label: sentence([String(step.id), does, ...notes, wrong, after.length > 0 ? `after ${after.join(", ")}` : ""]),
    percent: null,
    isReused: false,
    cells: [],
    faults: [...faults],
  };
}

/**
 * Return how long a step ran until now, in all attempts; with items, from the first of them.
 * @param {StepState} step
 * @param {number} now
 * @returns {number|null} milliseconds; null: it did not run
 */
export function runTime(step, now) {
  if (step.items) {
    const began = step.spread?.attempts[0]?.startedAt ?? null;
    return began === null ? null : Math.max(0, (step.endedAt ?? now) - began);
  }
  const spans = step.attempts.flatMap((attempt) => {
    if (attempt.durationMs !== null) return [attempt.durationMs];
    if (attempt.startedAt === null) return [];
    return [Math.max(0, (attempt.endedAt ?? now) - attempt.startedAt)];
  });
  return spans.length > 0 ? spans.reduce((sum, span) => sum + span, 0) : null;
}

/**
 * @param {StepState} step
 * @returns {boolean} whether what is said of it changes with the time
 */
export function isTicking(step) {
  return step.state === "running" || Boolean(step.items && step.endedAt === null);
}

/**
 * Return the state in words: one that is queued after a failed attempt waits to be tried again.
 * @param {StepState} step
 * @returns {string}
 */
export function stateOf(step) {
  return step.state === "queued" && step.retryAt !== null ? "queued again" : step.state;
}

/**
 * @param {StepState} step
 * @param {number} round
 * @returns {string} whose result it has, in words; empty: its own
 */
function reuseOf(step, round) {
  if (step.reused) return "reused";
  return step.round > 0 && step.round < round ? `from round ${step.round}` : "";
}

/**
 * @param {StepState} step
 * @returns {{name: string, state: string}[]} the first items; of what no event told the state is that of the rest
 */
function cellsOf(step) {
  if (!step.items) return [];
  const { steps, byState, count: all } = step.items;
  const rest = { ...byState };
  for (const item of Object.values(steps)) rest[item.state] = (rest[item.state] ?? 0) - 1;
  const others = Object.entries(rest).flatMap(([state, left]) => new Array(Math.max(0, left)).fill(state));
  return Array.from({ length: Math.min(all, MOST_CELLS) }, (_, index) => {
    const name = `${step.name}[${index}]`;
    return { name, state: steps[name]?.state ?? others.shift() ?? "held" };
  });
}

/**
 * Return how many steps are in each state, the most urgent state first.
 * @param {readonly string[]} names
 * @param {Record<string, StepState>} steps
 * @returns {[state: string, count: number][]}
 */
export function countsOf(names, steps) {
  /** @type {Map<string, number>} */
  const found = new Map();
  for (const name of names) {
    const state = steps[name]?.state ?? "blocked";
    found.set(state, (found.get(state) ?? 0) + 1);
  }
  return [...found].sort(([one], [other]) => URGENCY.indexOf(one) - URGENCY.indexOf(other));
}

const URGENCY = ["failed", "waiting", "running", "queued", "held", "blocked", "skipped", "cancelled", "done"];

/**
 * Return a text that fits into a number of letters.
 * @param {string} text
 * @param {number} letters
 * @returns {string}
 */
export function shortened(text, letters) {
  const plain = text.slice(0, 4 * letters).replace(/\s+/g, " ");
  const shown = [...plain];
  return shown.length > letters ? `${shown.slice(0, letters - 1).join("")}…` : plain;
}

/**
 * @param {string[]} parts
 * @returns {string}
 */
function sentence(parts) {
  return parts.filter(Boolean).join(", ");
}
