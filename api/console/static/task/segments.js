/** What a row of a task did in each attempt, and what it waited for before: the segments of the bars of the timeline. */

import { isFinal } from "./rounds.js";

/** The codes of MustWait and its subclasses on the server. */
const PUT_OFF = new Set(["must_wait", "budget_taken", "model_busy"]);

/**
 * @typedef {"blocked"|"slot"|"approval"|"queue"|"run"|"retry"} SegmentKind
 *   blocked: for the steps that it depends on; slot: for one of the task's parallel places; approval: for a person;
 *   queue: for a worker; retry: for the time of the next attempt
 *
 * @typedef {object} Segment
 * @property {SegmentKind} kind
 * @property {number} from
 * @property {number|null} to null: it lasts
 *
 * @typedef {object} Bar one attempt with the waits before it, and the wait for the next one if it failed
 * @property {number} attempt from 1; the number of the next attempt if it has not begun
 * @property {Segment[]} segments in the order of time, without a hole; empty for a row that never waited or ran
 * @property {import("./reduce.js").Attempt["outcome"]|"reused"} outcome null: it has not ended
 * @property {import("./reduce.js").Fault|null} error
 * @property {string|null} worker
 * @property {number} from
 * @property {number|null} to null: it lasts
 *
 * @typedef {object} Around what a row does not know itself
 * @property {readonly import("./reduce.js").Asked[]} [asked] the questions to persons about it
 * @property {number|null} [since] when its round began
 * @property {number|null} [heldAt] when nothing but a free slot was missing, if the row does not know
 * @property {number|null} [until] when the task ended
 *
 * @typedef {{kind: SegmentKind, at: number}} Turn from this moment on the row waits so
 */

/**
 * Return the bars of a row, the first attempt first. A row that waits only for other steps has none.
 * @param {import("./reduce.js").StepState} row
 * @param {Around} [around]
 * @returns {Bar[]}
 */
export function barsOf(row, { asked = [], since = null, heldAt = row.heldAt, until = null } = {}) {
  const end = row.endedAt ?? until;
  const turns = asked.flatMap((one) => askedTurns(one, end));
  /** @type {Bar[]} */
  const bars = [];
  let from = heldAt ?? row.queuedAt ?? row.attempts[0]?.queuedAt ?? row.waitingAt;
  let waits = firstTurns(row, { since, heldAt });
  const firstWait = waits[0]?.at ?? null;
  if (firstWait !== null) from = Math.min(from ?? firstWait, firstWait);
  for (const attempt of row.attempts) {
    const startedAt = attempt.startedAt ?? attempt.queuedAt ?? from ?? attempt.endedAt;
    if (startedAt === null) continue;
    const ended = attempt.endedAt ?? end;
    const segments = waitSegments([...waits, ...turns], { from: from ?? startedAt, to: startedAt });
    const before = bars.at(-1);
    while (before && segments[0]?.kind === "retry") before.segments.push(/** @type {Segment} */ (segments.shift()));
    segments.push({ kind: "run", from: startedAt, to: ended });
    bars.push(barOf(attempt.attempt, segments, attempt));
    from = ended;
    waits = attempt.retryAt === null ? [] : [{ kind: "retry", at: ended ?? startedAt }, { kind: "queue", at: attempt.retryAt }];
  }
  if (!isFinal(row.state) || bars.length === 0) bars.push(...lastBars(row, { from, end, turns: [...waits, ...turns], bars }));
  return bars.map(withBounds);
}

/**
 * Tell whether an attempt ended because a model's limit or the budget had no room just then, which is no failure.
 * @param {Pick<Bar, "outcome"|"error">} bar
 * @returns {boolean}
 */
export function isPutOff({ outcome, error }) {
  return outcome === "retried" && PUT_OFF.has(error?.code ?? "");
}

/**
 * Return the part of a segment that has passed, in milliseconds.
 * @param {Segment} segment
 * @param {number} now
 * @returns {number}
 */
export function lengthOf(segment, now) {
  return Math.max(0, (segment.to ?? now) - segment.from);
}

/**
 * @param {import("./reduce.js").StepState} row
 * @param {{since: number|null, heldAt: number|null}} around
 * @returns {Turn[]} the waits before the first attempt
 */
function firstTurns(row, { since, heldAt }) {
  /** @type {Turn[]} */
  const turns = [];
  const first = row.attempts[0]?.queuedAt ?? null;
  const queuedAt = first === null ? row.queuedAt : Math.min(first, row.queuedAt ?? first);
  if (since !== null && heldAt !== null && since < heldAt) turns.push({ kind: "blocked", at: since });
  if (heldAt !== null) turns.push({ kind: "slot", at: heldAt });
  if (queuedAt !== null) turns.push({ kind: "queue", at: queuedAt });
  return turns;
}

/**
 * @param {import("./reduce.js").Asked} asked
 * @param {number|null} end
 * @returns {Turn[]}
 */
function askedTurns(asked, end) {
  const decidedAt = asked.decidedAt ?? end;
  /** @type {Turn} */
  const begin = { kind: "approval", at: asked.askedAt };
  return decidedAt === null ? [begin] : [begin, { kind: "queue", at: decidedAt }];
}

/**
 * @param {Turn[]} turns
 * @param {{from: number, to: number|null}} wait
 * @returns {Segment[]}
 */
function waitSegments(turns, { from, to }) {
  /** @type {Segment[]} */
  const segments = [];
  const ordered = [...turns].sort((one, other) => one.at - other.at);
  const before = ordered.filter((turn) => turn.at <= from).at(-1);
  const within = ordered.filter((turn) => turn.at > from && (to === null || turn.at < to));
  let current = { kind: before?.kind ?? "queue", at: from };
  for (const turn of within) {
    if (turn.kind === current.kind) continue;
    segments.push({ kind: current.kind, from: current.at, to: turn.at });
    current = turn;
  }
  segments.push({ kind: current.kind, from: current.at, to });
  return segments.filter((segment) => segment.to === null || segment.to > segment.from);
}

/**
 * @param {import("./reduce.js").StepState} row
 * @param {{from: number|null, end: number|null, turns: Turn[], bars: Bar[]}} after
 * @returns {Bar[]} what follows the last attempt, or stands in place of one
 */
function lastBars(row, { from, end, turns, bars }) {
  const last = row.attempts.at(-1);
  if (last && last.endedAt === null) return [];
  const outcome = row.reused ? "reused" : isFinal(row.state) ? /** @type {Bar["outcome"]} */ (row.state) : null;
  const segments = from === null || row.reused ? [] : waitSegments(turns, { from, to: end });
  const before = bars.at(-1);
  while (before && segments[0]?.kind === "retry") before.segments.push(/** @type {Segment} */ (segments.shift()));
  const isMoment = segments.length === 0 && bars.length === 0 && outcome !== null && end !== null;
  if (isMoment) return [{ ...barOf(1, [], { outcome }), from: end, to: end }];
  return segments.length > 0 ? [barOf((last?.attempt ?? 0) + 1, segments, { outcome, error: row.error })] : [];
}

/**
 * @param {number} attempt
 * @param {Segment[]} segments
 * @param {{outcome: Bar["outcome"], error?: Bar["error"], worker?: string|null}} facts
 * @returns {Bar}
 */
function barOf(attempt, segments, { outcome, error = null, worker = null }) {
  return { attempt, segments, outcome, error, worker, from: 0, to: 0 };
}

/**
 * @param {Bar} bar
 * @returns {Bar}
 */
function withBounds(bar) {
  const [first, last] = [bar.segments[0], bar.segments.at(-1)];
  return first && last ? { ...bar, from: first.from, to: last.to } : bar;
}
