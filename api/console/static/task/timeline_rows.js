/** The rows of the timeline: the planner, each step of any round with its attempts, the judge, and the end of the task. */

import { barsOf, isPutOff } from "./segments.js";

/**
 * @typedef {import("./reduce.js").State} State
 * @typedef {import("./reduce.js").StepState} StepState
 *
 * @typedef {object} Placed a bar with its place
 * @property {string} key of the bar, unique in the task
 * @property {string} step name of the step, item, planner or judge
 * @property {number} round the round to which it belongs; a planner belongs to the round whose plan it makes
 * @property {boolean} isSpread it is the row that reads the list of a step with for_each
 * @typedef {import("./segments.js").Bar & Placed} RowBar
 *
 * @typedef {object} TimelineRow
 * @property {string} name
 * @property {"plan"|"step"|"item"|"judge"|"finishing"} kind
 * @property {string|null} arm
 * @property {string} state that of its latest round
 * @property {RowBar[]} bars
 * @property {TimelineRow[]} items of a step with for_each
 * @property {boolean} hasFailed an attempt failed
 *
 * @typedef {{at: number, running: number, waiting: number}} ItemLevel how many items run and wait from a moment on
 *
 * @typedef {object} Filter
 * @property {number|null} [round] only this round
 * @property {number|"last"|null} [attempt] only this attempt of each row
 * @property {boolean} [isErrorsFirst]
 * @property {boolean} [isNotDone] only rows that are not done
 */

const FAULTY = new Set(["failed", "retried", "lease_expired", "worker_lost", "outcome_unknown"]);
/** The bars that were made of a row, and of what else. @type {WeakMap<StepState, {madeOf: unknown[], bars: RowBar[]}>} */
const MADE = new WeakMap();
const DONE = new Set(["done", "skipped"]);

/**
 * Return all rows of a task in the order of its plans.
 * @param {State} state
 * @returns {TimelineRow[]}
 */
export function rowsOf(state) {
  const asked = askedByRow(state);
  /** @type {Map<string, TimelineRow>} */
  const rows = new Map();
  /** @type {TimelineRow[]} */
  const judges = [];
  for (const round of Object.values(state.rounds)) {
    const bars = (/** @type {StepState} */ row, /** @type {Partial<Placed> & {heldAt?: number|null}} */ place = {}) =>
      placedBars(row, { state, asked, since: place.isSpread === false ? null : round.startedAt, ...place });
    if (round.planner) add(rows, rowOf(round.planner, "plan", bars(round.planner, { round: round.number + 1 })));
    for (const step of Object.values(round.steps)) {
      if (step.round === round.number) add(rows, stepRow(step, bars));
    }
    if (round.judge) judges.push(rowOf(round.judge, "judge", bars(round.judge)));
  }
  for (const judge of judges) add(rows, judge);
  const finishing = finishingRow(state, judges);
  if (finishing) add(rows, finishing);
  return [...rows.values()];
}

/**
 * Return what a filter leaves of the rows. With an attempt or a round, rows without such a bar are left out.
 * @param {readonly TimelineRow[]} rows
 * @param {Filter} filter
 * @returns {TimelineRow[]}
 */
export function filtered(rows, { round = null, attempt = null, isErrorsFirst = false, isNotDone = false }) {
  const isWanted = (/** @type {RowBar} */ bar) => round === null || bar.round === round || (bar.round === 0 && round === 1);
  /** @type {TimelineRow[]} */
  let shown = [];
  for (const row of rows) {
    const only = withBars(row, (bars) => wantedAttempts(bars.filter(isWanted), attempt));
    if (only.bars.length + only.items.length > 0 || (round === null && attempt === null)) shown.push(only);
  }
  if (isNotDone) shown = shown.filter((row) => !DONE.has(row.state));
  if (!isErrorsFirst) return shown;
  return [...shown.filter((row) => row.hasFailed), ...shown.filter((row) => !row.hasFailed)];
}

/**
 * Return the rows without the bars that lie outside of a range of time.
 * @param {readonly TimelineRow[]} rows
 * @param {{from: number, to: number}} range
 * @returns {TimelineRow[]}
 */
export function within(rows, { from, to }) {
  return rows.map((row) => withBars(row, (bars) => bars.filter((bar) => bar.from <= to && (bar.to ?? Infinity) >= from)));
}

/**
 * Return every bar of the rows, also those of items.
 * @param {readonly TimelineRow[]} rows
 * @returns {RowBar[]}
 */
export function allBars(rows) {
  return rows.flatMap((row) => [...row.bars, ...row.items.flatMap((item) => item.bars)]);
}

/**
 * Return how many items run and wait after each moment at which that changes, the earliest first.
 * @param {readonly TimelineRow[]} items
 * @param {number} now
 * @returns {ItemLevel[]}
 */
export function densityOf(items, now) {
  /** @type {Map<number, {running: number, waiting: number}>} */
  const changes = new Map();
  const change = (/** @type {number} */ at, /** @type {"running"|"waiting"} */ key, /** @type {number} */ by) => {
    const known = changes.get(at) ?? { running: 0, waiting: 0 };
    known[key] += by;
    changes.set(at, known);
  };
  for (const bar of allBars(items)) {
    for (const segment of bar.segments) {
      const key = segment.kind === "run" ? "running" : "waiting";
      change(segment.from, key, 1);
      change(segment.to ?? now, key, -1);
    }
  }
  let running = 0;
  let waiting = 0;
  return [...changes.keys()]
    .sort((one, other) => one - other)
    .map((at) => {
      running += changes.get(at)?.running ?? 0;
      waiting += changes.get(at)?.waiting ?? 0;
      return { at, running, waiting };
    });
}

/**
 * @param {StepState} step
 * @param {(row: StepState, place?: Partial<Placed> & {heldAt?: number|null}) => RowBar[]} bars
 * @returns {TimelineRow}
 */
function stepRow(step, bars) {
  if (step.rowState === undefined) return rowOf(step, "step", bars(step));
  const own = bars(step, { isSpread: false });
  const spread = step.spread ? bars(step.spread, { isSpread: true }) : [];
  const row = rowOf(step, "step", [...spread, ...own]);
  const heldAt = step.spread?.endedAt ?? null;
  row.items = Object.values(step.items?.steps ?? {}).map((item) =>
    rowOf(item, "item", bars(item, { heldAt: item.heldAt ?? heldAt, isSpread: false })),
  );
  row.items.sort((one, other) => indexOf(one.name) - indexOf(other.name));
  row.hasFailed ||= row.items.some((item) => item.hasFailed);
  return row;
}

/**
 * @param {StepState} row
 * @param {TimelineRow["kind"]} kind
 * @param {RowBar[]} bars
 * @returns {TimelineRow}
 */
function rowOf(row, kind, bars) {
  return { name: row.name, kind, arm: row.arm, state: row.state, bars, items: [], hasFailed: bars.some(isFaulty) };
}

/**
 * Return the bars of a row; the same ones as before if nothing changed that they are made of.
 * @param {StepState} row
 * @param {{state: State, asked: Map<string, import("./reduce.js").Asked[]>, since: number|null, round?: number,
 *   isSpread?: boolean, heldAt?: number|null}} around
 * @returns {RowBar[]}
 */
function placedBars(row, { state, asked, since, round = row.round, isSpread = false, heldAt = row.heldAt }) {
  const questions = asked.get(`${row.round}/${row.name}`) ?? [];
  const madeOf = [state.endedAt, since, round, heldAt, ...questions];
  const known = MADE.get(row);
  if (known && isSame(known.madeOf, madeOf)) return known.bars;
  const own = row.rowState === undefined ? row : { ...row, state: row.rowState };
  const bars = barsOf(own, { asked: questions, since, heldAt, until: state.endedAt }).map((bar) => ({
    ...bar,
    key: `${round}/${row.name}/${bar.attempt}`,
    step: row.name,
    round,
    isSpread,
  }));
  MADE.set(row, { madeOf, bars });
  return bars;
}

/**
 * Return the rows, with those of before in place of equal ones, so that they need not be drawn again.
 * @param {readonly TimelineRow[]} before
 * @param {readonly TimelineRow[]} rows
 * @returns {TimelineRow[]}
 */
export function reused(before, rows) {
  const known = new Map(before.map((row) => [row.name, row]));
  return rows.map((row) => {
    const old = known.get(row.name);
    return old && isEqual(old, row) ? old : row;
  });
}

/**
 * @param {TimelineRow} one
 * @param {TimelineRow} other
 * @returns {boolean}
 */
function isEqual(one, other) {
  if (one.state !== other.state || one.kind !== other.kind || one.arm !== other.arm) return false;
  if (!isSame(one.bars, other.bars) || one.items.length !== other.items.length) return false;
  return one.items.every((item, index) => isEqual(item, /** @type {TimelineRow} */ (other.items[index])));
}

/**
 * @param {readonly unknown[]} one
 * @param {readonly unknown[]} other
 * @returns {boolean}
 */
function isSame(one, other) {
  return one.length === other.length && one.every((value, index) => value === other[index]);
}

/**
 * @param {Map<string, TimelineRow>} rows
 * @param {TimelineRow} row is joined with the row of the same name in earlier rounds
 */
function add(rows, row) {
  const known = rows.get(row.name);
  if (known === undefined) {
    rows.set(row.name, row);
    return;
  }
  /** @type {Map<string, TimelineRow>} */
  const items = new Map(known.items.map((item) => [item.name, item]));
  for (const item of row.items) add(items, item);
  Object.assign(known, {
    state: row.state,
    arm: row.arm ?? known.arm,
    bars: [...known.bars, ...row.bars],
    items: [...items.values()],
    hasFailed: known.hasFailed || row.hasFailed,
  });
}

/**
 * @param {State} state
 * @param {TimelineRow[]} judges
 * @returns {TimelineRow|null} from the last verdict to the end of the task, if that took any time
 */
function finishingRow(state, judges) {
  const judged = judges.at(-1)?.bars.at(-1)?.to ?? null;
  if (state.endedAt === null || judged === null || state.endedAt <= judged) return null;
  /** @type {RowBar} */
  const bar = {
    ...{ key: "finishing", step: "finishing", round: state.round, isSpread: false, attempt: 1 },
    ...{ outcome: "done", error: null, worker: null, from: judged, to: state.endedAt },
    segments: [{ kind: "run", from: judged, to: state.endedAt }],
  };
  return { name: "finishing", kind: "finishing", arm: null, state: "done", bars: [bar], items: [], hasFailed: false };
}

/**
 * @param {State} state
 * @returns {Map<string, import("./reduce.js").Asked[]>} the questions to persons by `round/step`
 */
function askedByRow(state) {
  /** @type {Map<string, import("./reduce.js").Asked[]>} */
  const found = new Map();
  for (const asked of Object.values(state.approvals)) {
    const key = `${asked.round}/${asked.step}`;
    found.set(key, [...(found.get(key) ?? []), asked]);
  }
  return found;
}

/**
 * @param {TimelineRow} row
 * @param {(bars: RowBar[]) => RowBar[]} choose
 * @returns {TimelineRow}
 */
function withBars(row, choose) {
  const items = row.items.map((item) => withBars(item, choose)).filter((item) => item.bars.length > 0);
  const bars = choose(row.bars);
  return { ...row, bars, items, hasFailed: bars.some(isFaulty) || items.some((item) => item.hasFailed) };
}

/**
 * @param {RowBar} bar
 * @returns {boolean}
 */
function isFaulty(bar) {
  return FAULTY.has(bar.outcome ?? "") && !isPutOff(bar);
}

/**
 * @param {RowBar[]} bars
 * @param {number|"last"|null} attempt
 * @returns {RowBar[]}
 */
function wantedAttempts(bars, attempt) {
  if (attempt === null) return bars;
  if (attempt !== "last") return bars.filter((bar) => bar.attempt === attempt);
  const last = new Map(bars.map((bar) => [`${bar.round}/${bar.step}`, bar]));
  return bars.filter((bar) => last.get(`${bar.round}/${bar.step}`) === bar);
}

/**
 * @param {string} name
 * @returns {number} the number in `fix[3]`
 */
function indexOf(name) {
  const number = Number.parseInt(name.slice(name.lastIndexOf("[") + 1), 10);
  return Number.isNaN(number) ? 0 : number;
}
