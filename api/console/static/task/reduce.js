/**
 * The state of a task after its first n events: `state = reduce(reduce(initial(), event1), event2) ...`.
 *
 * Pure, without a clock and without the page. What it does not know it leaves out: an event of an unknown type or with
 * odd data changes the number of the last event and nothing else. Times are milliseconds since 1970, UTC.
 *
 * Events don't tell all that the server knows: an attempt that has just begun is told 0.1 to 0.2 s later, until then its
 * step is queued; the phase "finishing" and the time by which waits for persons put off the deadline are not told; and a
 * step whose question can't be put to a person, which fails at once, is held until then.
 */

import { Draft, mapOf } from "./draft.js";
import { list, number, object, text, time } from "./payload.js";
import { beginPlannedRound, beginRepairRound, newStep, ownRound } from "./rounds.js";
import { stepEvent, whoIs } from "./step_events.js";

/**
 * @typedef {"blocked"|"held"|"waiting"|"queued"|"running"|"done"|"failed"|"skipped"|"cancelled"} StepStateName
 *
 * @typedef {object} Fault
 * @property {string} code
 * @property {string} message
 *
 * @typedef {object} Attempt
 * @property {number} attempt from 1
 * @property {string|null} worker
 * @property {number|null} queuedAt since when a worker could have begun it
 * @property {number|null} startedAt null: it was not told
 * @property {number|null} endedAt null: it runs
 * @property {"done"|"failed"|"skipped"|"cancelled"|"retried"|"lease_expired"|"worker_lost"|"handed_back"|"outcome_unknown"|"superseded"|null} outcome
 * @property {Fault|null} error
 * @property {number|null} retryAt when the next attempt may begin, at the earliest
 * @property {number|null} durationMs
 *
 * @typedef {object} Items the items of a step with for_each
 * @property {number} count
 * @property {number} reused how many of them were done before
 * @property {Record<string, number>} byState how many items are in each state
 * @property {Record<string, StepState>} steps those of which an event told, by name (`fix[3]`)
 *
 * @typedef {object} StepState
 * @property {string} name `$plan` and `$judge` are the planner and the judge
 * @property {string|null} stepId id of its row; null: not told yet
 * @property {number} round the round in which it runs or ran; lower than that of the round that shows it if it was kept
 * @property {string|null} arm
 * @property {string[]} dependsOn
 * @property {StepStateName} state that of the server's row; of a step with items what its items do
 * @property {StepStateName} [rowState] of a step with items: the state of the row that gathers them
 * @property {Attempt[]} attempts those that began, the oldest first
 * @property {number} unmet how many of its dependencies are not done
 * @property {number|null} heldAt when nothing but a free slot was missing any more
 * @property {number|null} queuedAt when it was queued first
 * @property {number|null} availableAt since when a worker could have begun its next attempt, unless retryAt is later
 * @property {number|null} waitingAt since when a person is asked; null: nobody is asked
 * @property {number|null} retryAt when the next attempt may begin; null: no attempt failed, or the next one runs
 * @property {number|null} endedAt
 * @property {Fault|null} error of its end, or of the last attempt
 * @property {string[]} warnings
 * @property {string|null} reason why it was skipped
 * @property {string} [parent] of an item: the step with for_each
 * @property {Items} [items] of a step with for_each, once its list is known
 * @property {StepState} [spread] of a step with for_each: the row that reads the list
 * @property {{taskId: string, stepId: string}} [reused] the step whose result this one has
 * @property {boolean} [isReused] of an item: it was done in an earlier round or task
 * @property {boolean} [early] it began before the plan was complete
 * @property {string} [feedback] what the judge said of it in the round before
 * @property {number|null} percent what the running attempt reported, 0 to 100; null: unknown
 * @property {string|null} message what the running attempt reported
 *
 * @typedef {object} Round
 * @property {number} number 0: what began before the first plan was complete
 * @property {Record<string, StepState>} steps by name, in the plan's order; kept ones are those of the round before
 * @property {Record<string, string[]>} dependents the steps that depend on each step
 * @property {StepState|null} planner the planner that ran in this round: it makes the plan of the next one
 * @property {StepState|null} judge
 * @property {string|null} plan id of the plan
 * @property {string|null} mode who made the plan
 * @property {"planned"|"repair"|"early"} kind
 * @property {number} open how many rows of its steps are held, waiting, queued or running
 * @property {number} startedAt
 * @property {Record<string, string>} feedback the judge's, which led to this round, by step
 * @property {object|null} verdict the data of judge.verdict
 *
 * @typedef {object} Asked an approval
 * @property {string} id
 * @property {string} step
 * @property {number} round
 * @property {string} kind
 * @property {string} state pending, withdrawn, or what was decided
 * @property {number} askedAt
 * @property {number|null} expiresAt
 * @property {number|null} decidedAt
 * @property {Record<string, any>} data the event's data, the latest ones over the earlier ones
 *
 * @typedef {object} State
 * @property {number} seq number of the last event
 * @property {string|null} lastType its type
 * @property {"queued"|"processing"|"completed"|"failed"|"cancelled"} status
 * @property {"accepted"|"planning"|"executing"|"judging"|"repairing"|"done"} phase "finishing" is no event: the phase is
 *   "judging" while a model writes the answer
 * @property {number} round number of the current round; 0: there is no plan yet
 * @property {Record<number, Round>} rounds
 * @property {{seq: number, at: number, round: number, data: Record<string, any>}[]} verdicts
 * @property {{seq: number, at: number, round: number, reason: string}[]} replans
 * @property {Record<string, Asked>} approvals by id
 * @property {{seq: number, at: number, data: Record<string, any>}[]} warnings those of the budget
 * @property {Record<string, any>|null} cache the data of task.cache
 * @property {Fault|null} error
 * @property {string|null} priority
 * @property {string|null} retryOf
 * @property {number|null} startedAt when it was submitted
 * @property {number|null} deadlineAt as it was when the task was submitted: waits for persons put it off
 * @property {number|null} endedAt
 * @property {number|null} lastEventAt the latest time of an event
 * @property {{after: number, before: number}[]} gaps numbers that are missing between two events
 *
 * @typedef {{seq: number, timestamp: string, type: string, data: any}} TaskEvent
 */

const ENDS = /** @type {const} */ ({
  "task.completed": "completed",
  "task.failed": "failed",
  "task.cancelled": "cancelled",
});

/**
 * Return the state before the first event.
 * @returns {State}
 */
export function initial() {
  return {
    seq: 0,
    lastType: null,
    status: "queued",
    phase: "accepted",
    round: 0,
    rounds: Object.create(null),
    verdicts: [],
    replans: [],
    approvals: mapOf(),
    warnings: [],
    cache: null,
    error: null,
    priority: null,
    retryOf: null,
    startedAt: null,
    deadlineAt: null,
    endedAt: null,
    lastEventAt: null,
    gaps: [],
  };
}

/**
 * Return the state after an event; the same state if the event was applied before. Never throws.
 * @param {State} state
 * @param {TaskEvent} event
 * @returns {State}
 */
export function reduce(state, event) {
  return reduceAll([event], { from: state });
}

/**
 * Return the state after those of the events whose number is at most `to`; costs time linear in their number.
 * @param {readonly TaskEvent[]} events in the order of their numbers
 * @param {{from?: State, to?: number}} [range] the state to begin with, and the last number
 * @returns {State}
 */
export function reduceAll(events, { from = initial(), to = Infinity } = {}) {
  const draft = new Draft(from);
  for (const event of events) {
    if (number(event?.seq) !== null && event.seq <= to && event.seq > draft.state.seq) apply(draft, event);
  }
  return draft.state.seq === from.seq ? from : draft.state;
}

/**
 * @param {Draft} draft
 * @param {TaskEvent} event
 */
function apply(draft, event) {
  const state = draft.state;
  const at = time(event.timestamp) ?? state.lastEventAt ?? 0;
  if (event.seq > state.seq + 1) draft.own(state, "gaps").push({ after: state.seq, before: event.seq });
  state.seq = event.seq;
  state.lastType = text(event.type);
  state.lastEventAt = Math.max(state.lastEventAt ?? at, at);
  const data = object(event.data);
  const type = state.lastType ?? "";
  if (type.startsWith("step.")) stepEvent(draft, { type, at, data });
  else if (type.startsWith("approval.")) approvalEvent(draft, { type, at, data });
  else taskEvent(draft, { type, at, data });
}

/** @typedef {{type: string, at: number, data: Record<string, any>}} Told an event without its number */

/**
 * @param {Draft} draft
 * @param {Told} told
 */
function taskEvent(draft, { type, at, data }) {
  const state = draft.state;
  switch (type) {
    case "task.submitted":
      Object.assign(state, {
        startedAt: at,
        deadlineAt: time(data.deadline_at),
        priority: text(data.priority),
        retryOf: text(data.retry_of),
      });
      queuePlanner(draft, 0, at);
      break;
    case "task.cache":
      cached(draft, { type, at, data });
      break;
    case "task.planned":
      endPlanner(draft, at);
      beginPlannedRound(draft, at, data);
      Object.assign(state, { status: "processing", phase: "executing" });
      break;
    case "judge.verdict":
      judged(draft, at, data);
      break;
    case "task.repair":
      beginRepairRound(draft, at, data);
      state.phase = "repairing";
      break;
    case "task.replan":
      draft.own(state, "replans").push({ seq: state.seq, at, round: state.round, reason: text(data.reason) ?? "" });
      queuePlanner(draft, state.round, at);
      state.phase = "planning";
      break;
    case "budget.warning":
      draft.own(state, "warnings").push({ seq: state.seq, at, data });
      break;
    default:
      if (Object.hasOwn(ENDS, type)) end(draft, { type, at, data });
  }
}

/**
 * @param {Draft} draft
 * @param {number} round
 * @param {number} at
 */
function queuePlanner(draft, round, at) {
  const owned = ownRound(draft, round, at);
  const row = newStep("$plan", round);
  owned.planner = draft.add(Object.assign(row, { arm: "planner", state: "queued", queuedAt: at, availableAt: at }));
}

/**
 * @param {Draft} draft
 * @param {number} at
 */
function endPlanner(draft, at) {
  const { state } = draft;
  const before = state.rounds[state.round];
  if (before?.planner) stepEvent(draft, { type: "step.completed", at, data: { step: "$plan", round: state.round } });
}

/**
 * @param {Draft} draft
 * @param {Told} told
 */
function cached(draft, { at, data }) {
  const { state } = draft;
  const isPromoted = text(data.former_leader) !== null;
  state.cache = isPromoted ? null : data;
  if (isPromoted) queuePlanner(draft, 0, at);
  else if (state.rounds[0]?.planner?.attempts.length === 0) ownRound(draft, 0, at).planner = null;
}

/**
 * @param {Draft} draft
 * @param {number} at
 * @param {Record<string, any>} data
 */
function judged(draft, at, data) {
  const { state } = draft;
  const round = number(data.round) ?? state.round;
  draft.own(state, "verdicts").push({ seq: state.seq, at, round, data });
  ownRound(draft, round, at).verdict = data;
  stepEvent(draft, { type: "step.completed", at, data: { step: "$judge", round } });
}

/**
 * @param {Draft} draft
 * @param {Told} told
 */
function end(draft, { type, at, data }) {
  const { state } = draft;
  state.status = ENDS[/** @type {keyof typeof ENDS} */ (type)];
  Object.assign(state, { phase: "done", endedAt: at, error: data.error ? object(data.error) : null });
  for (const round of Object.values(state.rounds)) {
    for (const step of [round.planner, round.judge]) {
      if (step === null || step.endedAt !== null) continue;
      const fact = { step: step.name, round: round.number };
      if (state.status === "completed" && step.state === "running") {
        stepEvent(draft, { type: "step.completed", at, data: fact });
      } else {
        const failed = state.status === "failed" && step.state === "running" && state.error?.code !== "deadline_exceeded";
        const why = failed ? { error: state.error } : { was: step.state };
        stepEvent(draft, { type: "step.failed", at, data: { ...fact, ...why } });
      }
    }
  }
}

/**
 * @param {Draft} draft
 * @param {Told} told
 */
function approvalEvent(draft, { type, at, data }) {
  const { state } = draft;
  const id = text(data.approval_id);
  const who = whoIs(state, data);
  if (id === null || who === null) return;
  const all = draft.own(state, "approvals");
  const known = all[id];
  const isAsked = type === "approval.requested" || type === "approval.expiring";
  const decided = type === "approval.withdrawn" ? "withdrawn" : (text(data.state) ?? "decided");
  all[id] = {
    id,
    step: who.name,
    round: who.round,
    kind: text(data.kind) ?? known?.kind ?? "approval",
    state: isAsked ? (known?.state ?? "pending") : decided,
    askedAt: known?.askedAt ?? at,
    expiresAt: time(data.expires_at) ?? known?.expiresAt ?? null,
    decidedAt: isAsked ? (known?.decidedAt ?? null) : at,
    data: { ...known?.data, ...data, allow: list(data.allow ?? known?.data.allow) },
  };
  stepEvent(draft, { type, at, data });
}

