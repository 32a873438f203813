/**
 * The critical path of a task: the chain of waits and runs that determined when it ended, found backwards from its end.
 * A shorter wait or run outside of the chain would not have ended the task earlier.
 */

import { duration } from "../format.js";
import { isFinal } from "./rounds.js";
import { barsOf } from "./segments.js";

/**
 * @typedef {import("./reduce.js").State} State
 * @typedef {import("./reduce.js").StepState} StepState
 *
 * @typedef {object} Leg a part of the chain
 * @property {string} step
 * @property {number} round as the timeline counts it: a planner belongs to the round whose plan it makes
 * @property {number} attempt
 * @property {import("./segments.js").SegmentKind} kind
 * @property {number} from
 * @property {number} to
 * @property {boolean} isOpen it lasts
 *
 * @typedef {object} Path
 * @property {Leg[]} legs in the order of time
 * @property {number} total milliseconds from the first leg to the end of the last one
 * @property {boolean} isOpen the task has not ended
 *
 * @typedef {{row: StepState, round: number, kind: "plan"|"judge"|"step"|"spread"|"item"}} Node
 *
 * @typedef {{step: string, round: number, text: string}} Sentence what one row contributed, in words
 */

const WAITS = {
  blocked: "for other steps",
  slot: "for a slot",
  approval: "for a decision",
  queue: "for a worker",
  retry: "for its next attempt",
};
const NAMES = new Map([
  ["$plan", "planner"],
  ["$judge", "judge"],
]);
/** Parts under this share of the whole are summed up in words. */
const LEAST_SHARE = 0.01;

/**
 * Return the chain that determined the end of a task; of an open task, the one that leads to what has lasted longest.
 * @param {State} state
 * @param {number} now
 * @returns {Path}
 */
export function criticalPath(state, now) {
  const end = state.endedAt ?? now;
  /** @type {Leg[]} */
  const legs = [];
  /** @type {Set<StepState>} */
  const seen = new Set();
  let cursor = end;
  let node = lastNode(state);
  while (node && !seen.has(node.row)) {
    seen.add(node.row);
    for (const leg of legsOf(state, node, end).reverse()) {
      if (leg.from >= cursor) continue;
      legs.push({ ...leg, to: Math.min(leg.to, cursor) });
      cursor = leg.from;
    }
    node = before(state, node);
  }
  legs.reverse();
  return { legs, total: (legs.at(-1)?.to ?? 0) - (legs[0]?.from ?? 0), isOpen: state.endedAt === null };
}

/**
 * Return the chain in words: what each row on it waited for and how long it ran.
 * @param {Path} path
 * @returns {{lead: string, sentences: Sentence[], rest: string}} `rest` sums up what is too short to tell
 */
export function pathInWords({ legs, total, isOpen }) {
  const rounds = new Set(legs.map((leg) => leg.round)).size;
  /** @type {Sentence[]} */
  const sentences = [];
  let rest = 0;
  let dropped = 0;
  for (const leg of legs) {
    const length = leg.to - leg.from;
    if (length < total * LEAST_SHARE && !leg.isOpen) {
      rest += length;
      dropped += 1;
      continue;
    }
    const last = sentences.at(-1);
    if (last?.step === leg.step && last.round === leg.round) last.text += `, ${legText(leg)}`;
    else sentences.push({ step: leg.step, round: leg.round, text: `${titleOf(leg, rounds > 1)} ${legText(leg)}` });
  }
  const lead = isOpen ? "So far the longest chain is:" : "The end was determined by:";
  return { lead, sentences, rest: dropped > 0 ? `${duration(rest)} in ${dropped} shorter part${dropped > 1 ? "s" : ""}` : "" };
}

/**
 * @param {Leg} leg
 * @returns {string}
 */
function legText(leg) {
  const length = duration(leg.to - leg.from);
  if (leg.kind === "run") return leg.isOpen ? `has run for ${length}` : `ran ${length}`;
  return leg.isOpen ? `has waited ${length} ${WAITS[leg.kind]}` : `waited ${length} ${WAITS[leg.kind]}`;
}

/**
 * @param {Leg} leg
 * @param {boolean} isRoundTold
 * @returns {string}
 */
function titleOf(leg, isRoundTold) {
  const isList = leg.step.endsWith("[]");
  const name = NAMES.get(leg.step) ?? (isList ? `the list of ${leg.step.slice(0, -2)}` : leg.step);
  return isRoundTold ? `${name} (round ${leg.round})` : name;
}

/**
 * @param {State} state
 * @param {Node} node
 * @param {number} end
 * @returns {Leg[]}
 */
function legsOf(state, { row, round, kind }, end) {
  const heldAt = row.heldAt ?? (kind === "item" ? (spreadOf(state.rounds[round], row)?.row.endedAt ?? null) : null);
  const isGather = kind === "step" && row.rowState !== undefined;
  const own = isGather ? { ...row, state: /** @type {StepState["state"]} */ (row.rowState) } : row;
  const asked = Object.values(state.approvals).filter((one) => one.step === row.name && one.round === row.round);
  return barsOf(own, { asked, heldAt, until: state.endedAt }).flatMap((bar) =>
    bar.segments
      .filter((segment) => segment.kind !== "blocked")
      .map(({ kind: waits, from, to }) => ({
        ...{ step: row.name, round: kind === "plan" ? round + 1 : round, attempt: bar.attempt },
        ...{ kind: waits, from, to: Math.min(to ?? end, end), isOpen: to === null },
      })),
  );
}

/**
 * @param {State} state
 * @returns {Node|null} the row that the task ended with, or that has lasted longest
 */
function lastNode(state) {
  const nodes = Object.values(state.rounds).flatMap((round) => nodesOf(round));
  if (state.endedAt !== null) return latest(nodes.filter((node) => node.row.attempts.length > 0 || node.row.endedAt !== null));
  const open = nodes.filter(({ row }) => !isFinal(row.state) && begunAt(row) !== null && row.state !== "blocked");
  const longest = open.reduce(
    (/** @type {Node|null} */ best, node) => (best && sinceOf(best) <= sinceOf(node) ? best : node),
    null,
  );
  return longest ?? latest(nodes.filter((node) => node.row.endedAt !== null));
}

/**
 * @param {import("./reduce.js").Round} round
 * @returns {Node[]} all rows that belong to it
 */
function nodesOf(round) {
  /** @type {Node[]} */
  const nodes = [];
  if (round.planner) nodes.push({ row: round.planner, round: round.number, kind: "plan" });
  for (const step of Object.values(round.steps)) if (step.round === round.number) nodes.push(...rowsOfStep(step, round.number));
  if (round.judge) nodes.push({ row: round.judge, round: round.number, kind: "judge" });
  return nodes;
}

/**
 * @param {StepState} step
 * @param {number} round
 * @returns {Node[]} its own row; of a step with for_each also those of the list and of its items
 */
function rowsOfStep(step, round) {
  /** @type {Node[]} */
  const nodes = step.spread ? [{ row: step.spread, round, kind: "spread" }] : [];
  for (const item of Object.values(step.items?.steps ?? {})) nodes.push({ row: item, round, kind: "item" });
  nodes.push({ row: step, round, kind: "step" });
  return nodes;
}

/**
 * @param {State} state
 * @param {Node} node
 * @returns {Node|null} the row whose end let this one begin; null: the task's beginning did
 */
function before(state, { row, round: number, kind }) {
  const round = state.rounds[number];
  if (kind === "plan") return number > 0 ? judgeOf(state, number) : null;
  if (kind === "item") return spreadOf(round, row);
  if (kind === "step" && row.rowState !== undefined) return latest(rowsOfStep(row, number).slice(0, -1));
  // a step that began early may end before the plan is complete
  return latest([...sourcesOf(round, { row, kind }), beginning(state, number)].filter((node) => node !== null));
}

/**
 * @param {import("./reduce.js").Round|undefined} round
 * @param {{row: StepState, kind: Node["kind"]}} node a judge, a step, or the list of a step with for_each
 * @returns {Node[]} the rows of its round that it had to wait for
 */
function sourcesOf(round, { row, kind }) {
  if (round === undefined) return [];
  const names = kind === "judge" ? Object.keys(round.steps) : row.dependsOn;
  return names.flatMap((name) => {
    const source = round.steps[name];
    return source?.round === round.number ? [{ row: source, round: round.number, kind: "step" }] : [];
  });
}

/**
 * @param {State} state
 * @param {number} number
 * @returns {Node|null} the row that made the round begin
 */
function beginning(state, number) {
  const round = state.rounds[number];
  if (round?.kind === "repair") return judgeOf(state, number - 1);
  const earlier = Math.max(0, number - 1);
  const planner = state.rounds[earlier]?.planner;
  return planner ? { row: planner, round: earlier, kind: "plan" } : null;
}

/**
 * @param {State} state
 * @param {number} number
 * @returns {Node|null}
 */
function judgeOf(state, number) {
  const judge = state.rounds[number]?.judge;
  return judge ? { row: judge, round: number, kind: "judge" } : null;
}

/**
 * @param {import("./reduce.js").Round|undefined} round
 * @param {StepState} item
 * @returns {Node|null}
 */
function spreadOf(round, item) {
  const owner = round?.steps[item.name.slice(0, item.name.lastIndexOf("["))];
  return owner?.spread ? { row: owner.spread, round: owner.round, kind: "spread" } : null;
}

/**
 * @param {Node[]} nodes
 * @returns {Node|null} the one that ended last; of several the one that began first
 */
function latest(nodes) {
  /** @type {Node|null} */
  let best = null;
  for (const node of nodes) {
    const ended = node.row.endedAt ?? -Infinity;
    const known = best?.row.endedAt ?? -Infinity;
    if (ended === -Infinity) continue;
    if (best === null || ended > known || (ended === known && sinceOf(node) < sinceOf(best))) best = node;
  }
  return best;
}

/**
 * @param {StepState} row
 * @returns {number|null} when it began to wait or to run
 */
function begunAt(row) {
  return row.heldAt ?? row.queuedAt ?? row.attempts[0]?.startedAt ?? row.waitingAt;
}

/**
 * @param {Node} node
 * @returns {number}
 */
function sinceOf(node) {
  return begunAt(node.row) ?? Infinity;
}
