/** Applies events of one step, item, planner or judge to a draft of a task's state. */

import { mapOf } from "./draft.js";
import { list, number, object, text, texts } from "./payload.js";
import { isFinal, isOpen, makeLoop, newStep, ownRound, queueJudge } from "./rounds.js";

/**
 * @typedef {import("./reduce.js").StepState} StepState
 * @typedef {import("./reduce.js").Round} Round
 * @typedef {import("./reduce.js").Told} Told
 * @typedef {import("./draft.js").Draft} Draft
 *
 * @typedef {object} Place where the row of an event is; all of it may be changed
 * @property {Draft} draft
 * @property {Round} round
 * @property {StepState} step the step of the plan to which the row belongs
 * @property {StepState} row
 * @property {"step"|"spread"|"item"|"gather"|"planner"|"judge"} kind
 */

/**
 * Return which row the data of an event names, and its round; null if it names none.
 * @param {import("./reduce.js").State} state
 * @param {Record<string, any>} data
 * @returns {{name: string, round: number}|null}
 */
export function whoIs(state, data) {
  const name = text(data.step);
  const round = number(data.round) ?? state.round;
  return name ? { name, round: Math.max(0, Math.trunc(round)) } : null;
}

/**
 * Apply an event of one row.
 * @param {Draft} draft
 * @param {Told} told
 */
export function stepEvent(draft, { type, at, data }) {
  const who = whoIs(draft.state, data);
  const handle = Object.hasOwn(HANDLERS, type) ? HANDLERS[type] : undefined;
  if (who === null || handle === undefined) return;
  const place = placeOf(draft, who, at);
  const { step, row, kind } = place;
  row.stepId = text(data.step_id) ?? row.stepId;
  if (kind === "step" || kind === "item") row.arm = text(data.arm) ?? row.arm;
  handle(place, at, data);
  if (step.rowState !== undefined) step.state = shownState(step);
}

/**
 * @param {Draft} draft
 * @param {{name: string, round: number}} who
 * @param {number} at
 * @returns {Place}
 */
function placeOf(draft, { name, round: wanted }, at) {
  const round = ownRound(draft, wanted, at);
  if (name === "$plan" || name === "$judge") {
    const kind = name === "$plan" ? "planner" : "judge";
    round[kind] ??= draft.add({ ...newStep(name, wanted), arm: kind });
    const row = /** @type {StepState} */ (draft.own(round, kind));
    return { draft, round, step: row, row, kind };
  }
  const bracket = name.indexOf("[");
  const owner = bracket > 0 ? name.slice(0, bracket) : name;
  const step = ownStep(draft, round, owner, at);
  if (bracket <= 0) {
    return { draft, round, step, row: step, kind: step.rowState === undefined ? "step" : "gather" };
  }
  if (step.spread === undefined) makeLoop(draft, step);
  if (name.endsWith("[]")) {
    const row = /** @type {StepState} */ (draft.own(step, "spread"));
    return { draft, round, step, row, kind: "spread" };
  }
  return { draft, round, step, row: ownItem(draft, step, name), kind: "item" };
}

/**
 * @param {Draft} draft
 * @param {Round} round
 * @param {string} name
 * @param {number} at
 * @returns {StepState}
 */
function ownStep(draft, round, name, at) {
  const steps = draft.own(round, "steps");
  if (steps[name] === undefined) {
    steps[name] = draft.add({ ...newStep(name, round.number), state: "held", heldAt: at });
    round.open += 1;
  }
  return draft.own(steps, name);
}

/**
 * @param {Draft} draft
 * @param {StepState} step
 * @param {string} name
 * @returns {StepState}
 */
function ownItem(draft, step, name) {
  step.items ??= draft.add({ count: 0, reused: 0, byState: mapOf(), steps: mapOf() });
  const items = draft.own(step, "items");
  const rows = draft.own(/** @type {NonNullable<typeof items>} */ (items), "steps");
  rows[name] ??= draft.add({ ...newStep(name, step.round), state: "held", arm: step.arm, parent: step.name });
  return draft.own(rows, name);
}

/**
 * Return the state of a step with items: what its rows do that have not ended.
 * @param {StepState} step
 * @returns {StepState["state"]}
 */
function shownState(step) {
  const own = /** @type {StepState["state"]} */ (step.rowState);
  if (isFinal(own)) return own;
  const spread = step.spread?.state ?? "blocked";
  const counts = step.items?.byState ?? {};
  for (const state of /** @type {const} */ (["running", "waiting", "queued"])) {
    if (own === state || spread === state || (counts[state] ?? 0) > 0) return state;
  }
  return isFinal(spread) ? "held" : spread;
}

/**
 * Move a row to another state; what depends on it may be able to run then.
 * @param {Place} place
 * @param {StepState["state"]} state
 * @param {number} at
 */
function move(place, state, at) {
  const { draft, round, step, row, kind } = place;
  const before = kind === "gather" ? /** @type {StepState["state"]} */ (row.rowState) : row.state;
  if (kind === "gather") row.rowState = state;
  else row.state = state;
  if (kind === "item") count(draft, step, before, state);
  if (kind === "planner" || kind === "judge") return;
  // what a spread that is done made is told by the next event: the judge must wait for it
  const isSpreadDone = kind === "spread" && state === "done";
  round.open += Number(isOpen(state)) - Number(isOpen(before)) + Number(isSpreadDone);
  if (isFinal(state) && (kind === "item" || (kind === "spread" && !isSpreadDone))) freeGather(place, at);
}

/**
 * @param {Draft} draft
 * @param {StepState} step
 * @param {string} before
 * @param {string} after
 */
function count(draft, step, before, after) {
  const items = draft.own(step, "items");
  const counts = draft.own(/** @type {NonNullable<typeof items>} */ (items), "byState");
  counts[before] = Math.max(0, (counts[before] ?? 0) - 1);
  counts[after] = (counts[after] ?? 0) + 1;
}

/**
 * Let the row that gathers the items run if all of them have ended.
 * @param {Place} place
 * @param {number} at
 */
function freeGather({ round, step }, at) {
  const counts = step.items?.byState ?? {};
  const isPending = Object.entries(counts).some(([state, items]) => items > 0 && !isFinal(state));
  if (isPending || step.rowState !== "blocked") return;
  step.rowState = "held";
  step.heldAt = at;
  round.open += 1;
}

/**
 * Let the steps run that waited for this one only.
 * @param {Place} place
 * @param {number} at
 */
function freeDependents({ draft, round, step }, at) {
  const steps = draft.own(round, "steps");
  for (const name of round.dependents[step.name] ?? []) {
    const dependent = draft.own(steps, name);
    const row = dependent.spread === undefined ? dependent : draft.own(dependent, "spread");
    if (row === undefined || row.state !== "blocked" || row.unmet === 0) continue;
    row.unmet -= 1;
    if (row.unmet > 0) continue;
    Object.assign(row, { state: "held", heldAt: at });
    round.open += 1;
    if (dependent.rowState !== undefined) dependent.state = shownState(dependent);
  }
}

/**
 * End a row. A judge is queued when no step of its round is open.
 * @param {Place} place
 * @param {StepState["state"]} state
 * @param {number} at
 * @param {boolean} [frees] whether what depends on the row may run
 */
function end(place, state, at, frees = false) {
  const { draft, round, row, kind } = place;
  move(place, state, at);
  Object.assign(row, { endedAt: at, retryAt: null, waitingAt: null });
  if (frees && (kind === "step" || kind === "gather")) freeDependents(place, at);
  for (const [place, attempt] of row.attempts.entries()) {
    if (attempt.endedAt !== null) continue;
    // another attempt ended the row
    Object.assign(draft.own(draft.own(row, "attempts"), place), { endedAt: at, outcome: "superseded" });
  }
  if (round.number > 0 && round.open === 0) queueJudge(draft, round, at);
}

/**
 * Return the attempt that an event is about, which may be changed; an attempt that no event began begins now.
 * @param {Place} place
 * @param {Record<string, any>} data
 * @returns {import("./reduce.js").Attempt|null} null: no attempt began
 */
function ownAttempt({ draft, row }, data) {
  const wanted = number(data.attempt) ?? row.attempts.at(-1)?.attempt ?? 0;
  if (wanted < 1) return null;
  const attempts = draft.own(row, "attempts");
  const place = attempts.findLastIndex((one) => one.attempt === wanted);
  if (place >= 0) return draft.own(attempts, place) ?? null;
  /** @type {import("./reduce.js").Attempt} */
  const begun = {
    attempt: wanted,
    worker: null,
    queuedAt: row.retryAt ?? row.availableAt,
    startedAt: null,
    endedAt: null,
    outcome: null,
    error: null,
    retryAt: null,
    durationMs: null,
  };
  attempts.push(draft.add(begun));
  return begun;
}

/**
 * @param {Place} place
 * @param {number} at
 * @param {Record<string, any>} data
 * @param {import("./reduce.js").Attempt["outcome"]} outcome
 * @returns {import("./reduce.js").Attempt|null}
 */
function endAttempt(place, at, data, outcome) {
  const attempt = ownAttempt(place, data);
  place.row.error = data.error ? faultOf(data.error) : null;
  // an attempt that was given up may succeed all the same
  if (attempt === null || (attempt.endedAt !== null && outcome !== "done")) return attempt;
  const durationMs = number(data.duration_ms) ?? (attempt.startedAt === null ? null : Math.max(0, at - attempt.startedAt));
  const startedAt = attempt.startedAt ?? (durationMs === null ? null : at - durationMs);
  Object.assign(attempt, { endedAt: at, outcome, durationMs, startedAt, error: place.row.error });
  attempt.worker = text(data.worker) ?? attempt.worker;
  return attempt;
}

/**
 * @param {unknown} error
 * @returns {import("./reduce.js").Fault}
 */
function faultOf(error) {
  const { code, message, ...others } = object(error);
  return { ...others, code: text(code) ?? "unknown", message: text(message) ?? "" };
}

/** @type {Record<string, (place: Place, at: number, data: Record<string, any>) => void>} */
const HANDLERS = {
  "step.queued": (place, at) => {
    const { row } = place;
    move(place, "queued", at);
    row.queuedAt ??= at;
    row.availableAt = at;
  },
  "step.started": (place, at, data) => {
    const { draft, row, kind } = place;
    const attempt = ownAttempt(place, data);
    if (attempt !== null) {
      attempt.startedAt = at;
      attempt.worker = text(data.worker) ?? attempt.worker;
    }
    move(place, "running", at);
    Object.assign(row, { retryAt: null, percent: null, message: null });
    if (kind !== "planner" && kind !== "judge") return;
    draft.state.status = "processing";
    draft.state.phase = kind === "judge" ? "judging" : "planning";
  },
  "step.progress": ({ row }, _at, data) => {
    row.percent = number(data.percent);
    row.message = text(data.message);
  },
  "step.completed": (place, at, data) => {
    endAttempt(place, at, data, "done");
    place.row.warnings = texts(data.warnings);
    end(place, "done", at, true);
  },
  "step.failed": (place, at, data) => {
    const isStopped = text(data.was) !== null;
    endAttempt(place, at, data, isStopped ? "cancelled" : "failed");
    end(place, isStopped ? "cancelled" : "failed", at);
  },
  "step.skipped": (place, at, data) => {
    // one that its `when` skipped was claimed; one behind a failed step never was
    const isDecided = number(data.attempt) !== null;
    if (isDecided) endAttempt(place, at, data, "skipped");
    place.row.reason = text(data.reason);
    end(place, "skipped", at, isDecided);
  },
  "step.reused": (place, at, data) => {
    const from = object(data.from);
    place.row.reused = { taskId: text(from.task_id) ?? "", stepId: text(from.step_id) ?? "" };
    end(place, "done", at, true);
  },
  "step.retrying": (place, at, data) => {
    const reason = text(data.reason);
    const outcome = /** @type {import("./reduce.js").Attempt["outcome"]} */ (reason ?? "retried");
    const attempt = endAttempt(place, at, data, outcome);
    const retryAt = at + Math.max(0, number(data.delay_seconds) ?? 0) * 1000;
    if (attempt !== null) attempt.retryAt = retryAt;
    move(place, "queued", at);
    place.row.retryAt = retryAt;
  },
  "step.outcome_unknown": (place, at, data) => {
    endAttempt(place, at, data, "outcome_unknown");
    move(place, "waiting", at);
    place.row.waitingAt = at;
  },
  "step.spread": (place, at, data) => spread(place, at, data),
  "approval.requested": (place, at) => {
    if (isFinal(stateOf(place))) return;
    move(place, "waiting", at);
    place.row.waitingAt = at;
  },
  "approval.decided": (place, at) => {
    if (stateOf(place) !== "waiting") return;
    move(place, "queued", at);
    Object.assign(place.row, { waitingAt: null, retryAt: null, availableAt: at });
    place.row.queuedAt ??= at;
  },
  "approval.withdrawn": ({ row }) => {
    row.waitingAt = null;
  },
};

/**
 * @param {Place} place
 * @returns {StepState["state"]}
 */
function stateOf({ row, kind }) {
  return kind === "gather" && row.rowState !== undefined ? row.rowState : row.state;
}

/**
 * Add the items of a step, whose list is known now.
 * @param {Place} place that of the step itself
 * @param {number} at
 * @param {Record<string, any>} data
 */
function spread(place, at, data) {
  const { draft, round, step } = place;
  if (step.spread === undefined) makeLoop(draft, step);
  if (step.items !== undefined) return;
  const all = Math.max(0, number(data.count) ?? 0);
  const reused = Math.min(all, Math.max(0, number(data.reused) ?? 0));
  step.items = draft.add({ count: all, reused, byState: draft.add(mapOf()), steps: draft.add(mapOf()) });
  for (const place of list(data.reused_items)) {
    const item = Number.isInteger(place) ? ownItem(draft, step, `${step.name}[${place}]`) : null;
    if (item) Object.assign(item, { state: "done", endedAt: at, isReused: true });
  }
  if (reused > 0) step.items.byState.done = reused;
  if (all > reused) step.items.byState.held = all - reused;
  // the spread was counted until now
  round.open += all - reused - 1;
  if (all === reused) freeGather(place, at);
}
