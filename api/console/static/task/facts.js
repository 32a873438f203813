/** What is loaded of a task beside its events: the status, the contract, the plans, and the decisions about it. */

import { ApiError, get } from "../api_client.js";
import { signal } from "../vendor.js";
import { list, object } from "./payload.js";

const PAGE = 1000;
const MOST_DECISIONS = 20_000;
const LEAST_PAUSE_MS = 1000;
const RETRY_MS = 5000;
const REFRESHED_BY = new Set([
  "task.cache",
  "task.planned",
  "task.repair",
  "task.replan",
  "task.completed",
  "task.failed",
  "task.cancelled",
  "judge.verdict",
  "step.completed",
  "step.failed",
  "approval.requested",
  "approval.decided",
]);

/**
 * @typedef {{id: number, round: number, timestamp: string, kind: string, data: Record<string, any>}} Decision
 *
 * @typedef {object} Facts
 * @property {Record<string, any>|null} task the answer of GET /v1/tasks/{id}; null: not loaded yet
 * @property {Record<string, any>} contract
 * @property {Record<string, any>[]} steps those of the trace, in the plan's order, in their latest round
 * @property {Record<number, Record<string, any>>} plans the plan of each round that began one: `steps` have inputs and
 *   acceptance_criteria
 * @property {Decision[]} decisions oldest first
 * @property {boolean} isCut whether there are more decisions than are loaded
 * @property {Decision[]} calls the decisions that are calls of models
 * @property {Error|null} error why the last reading failed
 */

/** @type {Facts} */
const NOTHING = {
  task: null,
  contract: {},
  steps: [],
  plans: {},
  decisions: [],
  isCut: false,
  calls: [],
  error: null,
};

/** Reads the facts of one task, and again when events tell that they changed. */
export class FactsReader {
  /** @param {string} taskId */
  constructor(taskId) {
    this.path = `/v1/tasks/${encodeURIComponent(taskId)}`;
    /** @type {import("../vendor.js").Signal<Facts>} */
    this.facts = signal(NOTHING);
    this.isWanted = false;
    this.isReading = false;
    this.aborter = new AbortController();
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.timer = undefined;
  }

  /** Read again, soon; any number of calls meanwhile are one reading. */
  refresh() {
    this.isWanted = true;
    if (!this.isReading && this.timer === undefined) this.read();
  }

  /**
   * Read again if these events changed the facts.
   * @param {readonly import("./reduce.js").TaskEvent[]} events
   */
  onEvents(events) {
    if (events.some((event) => REFRESHED_BY.has(event.type))) this.refresh();
  }

  /** End for good. */
  stop() {
    this.aborter.abort();
    clearTimeout(this.timer);
  }

  async read() {
    this.isReading = true;
    this.isWanted = false;
    let pauseMs = LEAST_PAUSE_MS;
    try {
      this.facts.value = await this.loaded();
    } catch (error) {
      if (this.aborter.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      this.facts.value = { ...this.facts.value, error };
      // 401 and 404 are told by the events' reader
      this.isWanted ||= error.status === 0 || error.status >= 500 || error.status === 429;
      pauseMs = Math.max(RETRY_MS, error.retryAfter * 1000);
    }
    this.isReading = false;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (this.isWanted) this.read();
    }, pauseMs);
  }

  /** @returns {Promise<Facts>} */
  async loaded() {
    const { signal: aborted } = this.aborter;
    const before = this.facts.value;
    const { data: task } = await get(this.path, { signal: aborted });
    let decisions = before.decisions;
    let trace;
    do {
      const after = decisions.at(-1)?.id ?? 0;
      const page = await get(`${this.path}/trace?results=false&after=${after}&limit=${PAGE}`, { signal: aborted });
      trace = page.data;
      decisions = [...decisions, ...trace.decisions];
    } while (trace.decisions.length === PAGE && decisions.length < MOST_DECISIONS);
    return {
      task,
      contract: object(trace.contract),
      steps: list(trace.steps),
      plans: plansOf(decisions),
      decisions,
      isCut: trace.decisions.length === PAGE,
      calls: decisions.filter((decision) => decision.kind === "model"),
      error: null,
    };
  }
}

/**
 * @param {Decision[]} decisions
 * @returns {Record<number, Record<string, any>>}
 */
function plansOf(decisions) {
  /** @type {Record<number, Record<string, any>>} */
  const plans = {};
  for (const { kind, round, data } of decisions) if (kind === "plan") plans[round] = object(data);
  return plans;
}

/**
 * Return the plan's record of a round: that of the latest plan until then.
 * @param {Facts} facts
 * @param {number} round
 * @returns {Record<string, any>|null}
 */
export function planOf(facts, round) {
  const rounds = Object.keys(facts.plans).map(Number).filter((number) => number <= round);
  return rounds.length > 0 ? (facts.plans[Math.max(...rounds)] ?? null) : null;
}

/**
 * Return what the calls of models until now cost and used, and what must be said of it.
 * @param {Facts} facts
 * @param {string|null} [step] only the calls for a step
 * @returns {{dollars: number|null, tokens: number|null, calls: number, isFake: boolean}} null: one is not known
 */
export function spentOn({ calls }, step = null) {
  let dollars = /** @type {number|null} */ (0);
  let tokens = /** @type {number|null} */ (0);
  let [count, isFake] = [0, false];
  for (const { data } of calls) {
    if (step !== null && data.step !== step) continue;
    count += 1;
    isFake ||= data.fake === true;
    for (const call of data.attempts === undefined ? [data] : list(data.attempts).map(object)) {
      if (call.called === false) continue;
      const cost = call.cost_dollars === null || call.cost_dollars === undefined ? Number.NaN : Number(call.cost_dollars);
      const used = Number(call.input_tokens ?? Number.NaN) + Number(call.output_tokens ?? Number.NaN);
      dollars = dollars === null || Number.isNaN(cost) ? null : dollars + cost;
      tokens = tokens === null || Number.isNaN(used) ? null : tokens + used;
    }
  }
  return { dollars, tokens, calls: count, isFake };
}

