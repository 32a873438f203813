/** Begins the rounds of a task's state: which steps they have, and which of them can run. */

import { mapOf } from "./draft.js";
import { list, number, object, text, texts } from "./payload.js";

/**
 * @typedef {import("./reduce.js").StepState} StepState
 * @typedef {import("./reduce.js").Round} Round
 * @typedef {import("./draft.js").Draft} Draft
 */

const OPEN = new Set(["held", "waiting", "queued", "running"]);
const FINAL = new Set(["done", "failed", "skipped", "cancelled"]);

/**
 * @param {string} state
 * @returns {boolean} whether the judge must wait for a row in this state
 */
export function isOpen(state) {
  return OPEN.has(state);
}

/**
 * @param {string} state
 * @returns {boolean} whether a row in this state has ended
 */
export function isFinal(state) {
  return FINAL.has(state);
}

/**
 * @param {string} name
 * @param {number} round
 * @returns {StepState}
 */
export function newStep(name, round) {
  return {
    name,
    stepId: null,
    round,
    arm: null,
    dependsOn: [],
    state: "blocked",
    attempts: [],
    unmet: 0,
    heldAt: null,
    queuedAt: null,
    availableAt: null,
    waitingAt: null,
    retryAt: null,
    endedAt: null,
    error: null,
    warnings: [],
    reason: null,
    percent: null,
    message: null,
  };
}

/**
 * @param {number} number
 * @param {Round["kind"]} kind
 * @param {number} at
 * @returns {Round}
 */
export function newRound(number, kind, at) {
  return {
    number,
    kind,
    steps: mapOf(),
    dependents: mapOf(),
    planner: null,
    judge: number > 0 ? { ...newStep("$judge", number), arm: "judge" } : null,
    plan: null,
    mode: null,
    open: 0,
    startedAt: at,
    feedback: mapOf(),
    verdict: null,
  };
}

/**
 * Return a round that may be changed; a round that no event began, and which events name, begins without steps.
 * @param {Draft} draft
 * @param {number} wanted number of the round
 * @param {number} at
 * @returns {Round}
 */
export function ownRound(draft, wanted, at) {
  const rounds = draft.own(draft.state, "rounds");
  if (rounds[wanted] === undefined) {
    rounds[wanted] = draft.add(newRound(wanted, wanted === 0 ? "early" : "planned", at));
    draft.state.round = Math.max(draft.state.round, wanted);
  }
  return draft.own(rounds, wanted);
}

/**
 * Make a step one with for_each: its own row gathers what the items put out, and another one reads the list.
 * @param {Draft} draft
 * @param {StepState} step an owned step
 */
export function makeLoop(draft, step) {
  const { name, round, dependsOn, unmet, state, heldAt } = step;
  step.spread = draft.add({ ...newStep(`${name}[]`, round), dependsOn, unmet, state, heldAt, parent: name });
  step.rowState = "blocked";
}

/**
 * Begin the round of a new plan: `data` is that of task.planned.
 * @param {Draft} draft
 * @param {number} at
 * @param {Record<string, any>} data
 */
export function beginPlannedRound(draft, at, data) {
  const { state } = draft;
  const wanted = number(data.round) ?? state.round + 1;
  const planned = list(data.steps).map(object).filter((step) => text(step.step));
  const kept = new Set(texts(data.kept));
  const early = mapOf(object(data.early));
  const round = newRound(wanted, "planned", at);
  for (const one of planned) {
    const dependsOn = texts(one.depends_on);
    const unmet = dependsOn.filter((name) => !kept.has(name) && early[name] !== "done").length;
    const fresh = { ...newStep(one.step, wanted), arm: text(one.arm), dependsOn, unmet };
    const taken = kept.has(one.step) ? latestOf(state, one.step) : takenEarly(draft, one.step, early[one.step]);
    addStep(draft, round, taken ? { ...taken, dependsOn, unmet } : fresh, { at, loops: one.for_each === true });
  }
  round.plan = text(data.plan_id);
  round.mode = text(data.mode);
  beginRound(draft, round);
}

/**
 * Begin the round that repairs the one before: `data` is that of task.repair.
 * @param {Draft} draft
 * @param {number} at
 * @param {Record<string, any>} data
 */
export function beginRepairRound(draft, at, data) {
  const { state } = draft;
  const wanted = number(data.round) ?? state.round + 1;
  const before = state.rounds[state.round];
  const round = newRound(wanted, "repair", at);
  const reruns = new Set(texts(data.reruns));
  const kept = new Set(texts(data.kept));
  round.feedback = mapOf(object(data.feedback));
  for (const name of new Set([...Object.keys(before?.steps ?? {}), ...reruns])) {
    const earlier = before?.steps[name];
    if (earlier && !reruns.has(name)) {
      round.steps[name] = earlier;
      addDependents(round, earlier);
      continue;
    }
    const dependsOn = earlier?.dependsOn ?? [];
    const unmet = dependsOn.filter((source) => reruns.has(source) || !kept.has(source)).length;
    const fresh = { ...newStep(name, wanted), arm: earlier?.arm ?? null, dependsOn, unmet };
    const feedback = text(round.feedback[name]);
    if (feedback !== null) fresh.feedback = feedback;
    addStep(draft, round, fresh, { at, loops: earlier?.rowState !== undefined });
  }
  round.plan = text(data.plan_id) ?? before?.plan ?? null;
  round.mode = before?.mode ?? null;
  beginRound(draft, round);
}

/**
 * @param {Draft} draft
 * @param {Round} round
 */
function beginRound(draft, round) {
  const rounds = draft.own(draft.state, "rounds");
  // a round that is told twice keeps what happened in it
  rounds[round.number] ??= draft.add(round);
  draft.state.round = round.number;
  // all that the plan has was done while it was written
  if (round.open === 0 && Object.keys(round.steps).length > 0) queueJudge(draft, round, round.startedAt);
}

/**
 * Queue the judge of a round of which no step is open.
 * @param {Draft} draft
 * @param {Round} round
 * @param {number} at
 */
export function queueJudge(draft, round, at) {
  if (round.judge?.state !== "blocked") return;
  const judge = /** @type {StepState} */ (draft.own(round, "judge"));
  Object.assign(judge, { state: "queued", queuedAt: at, availableAt: at });
}

/**
 * @param {Draft} draft
 * @param {Round} round
 * @param {StepState} step
 * @param {{at: number, loops: boolean}} when
 */
function addStep(draft, round, step, { at, loops }) {
  const added = draft.add(step);
  round.steps[step.name] = added;
  addDependents(round, step);
  if (step.round !== round.number) return;
  if (step.state === "blocked" && step.unmet === 0) Object.assign(step, { state: "held", heldAt: at });
  if (loops) makeLoop(draft, added);
  round.open += Number(isOpen(added.state));
}

/**
 * @param {Round} round
 * @param {StepState} step
 */
function addDependents(round, step) {
  for (const source of step.dependsOn) (round.dependents[source] ??= []).push(step.name);
}

/**
 * @param {import("./reduce.js").State} state
 * @param {string} name
 * @returns {StepState|undefined} the step in the latest round that has it
 */
function latestOf(state, name) {
  for (let round = state.round; round > 0; round -= 1) {
    const found = state.rounds[round]?.steps[name];
    if (found) return found;
  }
  return undefined;
}

/**
 * Take a step that began before the plan was complete out of round 0.
 * @param {Draft} draft
 * @param {string} name
 * @param {unknown} became the state in which it was taken, or `dropped`
 * @returns {StepState|undefined}
 */
function takenEarly(draft, name, became) {
  const now = text(became);
  if (now === null || now === "dropped") return undefined;
  const { state } = draft;
  const wanted = state.round + 1;
  const found = state.rounds[0]?.steps[name] ?? newStep(name, 0);
  if (state.rounds[0]?.steps[name]) {
    const early = draft.own(draft.own(state, "rounds"), 0);
    delete draft.own(early, "steps")[name];
    early.open -= Number(isOpen(found.state));
  }
  const known = isOpen(now) || isFinal(now) ? /** @type {StepState["state"]} */ (now) : found.state;
  return { ...found, round: wanted, state: known, early: true };
}
