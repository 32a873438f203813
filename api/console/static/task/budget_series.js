/** What a task's calls to models reserved and were charged, as amounts over time and by attempt. */

/**
 * @typedef {object} BudgetEntry a call, as GET /v1/tasks/{id}/budget tells it
 * @property {string} at when it was reserved
 * @property {string|null} settled_at
 * @property {string} step
 * @property {number} round
 * @property {number} attempt
 * @property {number} call
 * @property {string|null} purpose
 * @property {string|null} model
 * @property {number} reserved_tokens
 * @property {number|null} reserved_dollars
 * @property {number|null} settled_tokens
 * @property {number|null} settled_dollars
 * @property {"reserved"|"settled"} state
 *
 * @typedef {"tokens"|"dollars"} Unit
 * @typedef {{at: number, settled: number, reserved: number, unknown: number}} Level the sums from a moment on; `unknown`
 *   is how many calls until then have an unknown amount, which the sums leave out
 * @typedef {{tokens: number, dollars: number|null}} Cost dollars are null if a part is unknown
 */

/**
 * Return the sums after each moment at which one changes, the earliest first.
 * @param {readonly BudgetEntry[]} entries
 * @param {Unit} unit
 * @returns {Level[]}
 */
export function levelsOf(entries, unit) {
  /** @type {{at: number, settled: number, reserved: number, unknown: number}[]} */
  const changes = [];
  for (const entry of entries) {
    const reserved = unit === "tokens" ? entry.reserved_tokens : entry.reserved_dollars;
    changes.push({ at: Date.parse(entry.at), settled: 0, reserved: reserved ?? 0, unknown: reserved === null ? 1 : 0 });
    if (entry.settled_at === null) continue;
    const settled = unit === "tokens" ? entry.settled_tokens : entry.settled_dollars;
    const unknown = (settled === null ? 1 : 0) - (reserved === null ? 1 : 0);
    changes.push({ at: Date.parse(entry.settled_at), settled: settled ?? 0, reserved: -(reserved ?? 0), unknown });
  }
  /** @type {Level[]} */
  const levels = [];
  for (const change of changes.sort((one, other) => one.at - other.at)) {
    const last = levels.at(-1) ?? { at: Number.NaN, settled: 0, reserved: 0, unknown: 0 };
    const level = {
      at: change.at,
      settled: exact(last.settled + change.settled),
      reserved: exact(Math.max(0, last.reserved + change.reserved)),
      unknown: last.unknown + change.unknown,
    };
    if (last.at === change.at) levels[levels.length - 1] = level;
    else levels.push(level);
  }
  return levels;
}

/**
 * Return the sums at a moment.
 * @param {readonly Level[]} levels
 * @param {number} moment
 * @returns {Level}
 */
export function levelAt(levels, moment) {
  let low = 0;
  let high = levels.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((levels[middle]?.at ?? 0) <= moment) low = middle + 1;
    else high = middle;
  }
  return levels[low - 1] ?? { at: moment, settled: 0, reserved: 0, unknown: 0 };
}

/**
 * Return what each attempt was charged, by `round/step/attempt` as the timeline counts rounds: a planner belongs to the
 * round whose plan it makes.
 * @param {readonly BudgetEntry[]} entries
 * @returns {Map<string, Cost>}
 */
export function costsOf(entries) {
  /** @type {Map<string, Cost>} */
  const costs = new Map();
  for (const entry of entries) {
    if (entry.state !== "settled") continue;
    const round = entry.step === "$plan" ? entry.round + 1 : entry.round;
    const key = `${round}/${entry.step}/${entry.attempt}`;
    const known = costs.get(key) ?? { tokens: 0, dollars: 0 };
    const isKnown = known.dollars !== null && entry.settled_dollars !== null;
    costs.set(key, {
      tokens: known.tokens + (entry.settled_tokens ?? 0),
      dollars: isKnown ? exact(Number(known.dollars) + Number(entry.settled_dollars)) : null,
    });
  }
  return costs;
}

/**
 * Return by which unit attempts are compared: dollars if any was charged, else tokens.
 * @param {Iterable<Cost>} costs
 * @returns {Unit}
 */
export function comparedBy(costs) {
  for (const cost of costs) if (cost.dollars === null || cost.dollars > 0) return "dollars";
  return "tokens";
}

/**
 * @param {number} amount
 * @returns {number} without what sums of binary fractions add; prices have 8 decimals
 */
function exact(amount) {
  return Number(amount.toFixed(8));
}
