// Pure computations for the page of the arms: columns of a chart, the order of the table, an arm in words.
import { count, duration } from "../format.js";

/**
 * A minute of an arm, as GET /v1/arms/statistics gives it.
 * @typedef {{at: string, finished: number, failed: number, p50_ms: number | null, p95_ms: number | null, queued: number,
 *   busy: number}} Minute
 * @typedef {{arm_id: string, name: string, status: string, queued: number, oldest_queued_seconds: number | null,
 *   workers: number, busy: number, slots: number, is_unserved: boolean, outage: string | null, ended: number,
 *   success_rate: number | null, p50_ms: number | null, p95_ms: number | null, cost_dollars: number | null,
 *   complete_since: string | null, series: Minute[]}} Arm
 * @typedef {"arm_id" | "status" | "queued" | "oldest_queued_seconds" | "workers" | "busy" | "success_rate" | "p50_ms" |
 *   "p95_ms" | "cost_dollars"} SortKey
 */

/** @type {SortKey[]} */
export const SORT_KEYS = [
  "arm_id",
  "status",
  "queued",
  "oldest_queued_seconds",
  "workers",
  "busy",
  "success_rate",
  "p50_ms",
  "p95_ms",
  "cost_dollars",
];
const BEST_FIRST = ["healthy", "degraded", "unavailable"];

/**
 * Columns for a chart: the times in seconds since 1970, then the values of each member; null: a gap.
 * @param {Minute[]} series
 * @param {("finished" | "failed" | "p50_ms" | "p95_ms" | "queued" | "busy")[]} members
 * @returns {[number[], ...(number | null)[][]]}
 */
export function columnsOf(series, members) {
  const times = series.map((minute) => Date.parse(minute.at) / 1000);
  return [times, ...members.map((name) => series.map((minute) => minute[name]))];
}

/**
 * The arms in order of a member; what is unknown comes last in either direction, and arms with equal values keep theirs.
 * @param {Arm[]} arms
 * @param {SortKey | null} key null: as the API gives them
 * @param {boolean} isDescending
 * @returns {Arm[]}
 */
export function sorted(arms, key, isDescending) {
  if (key === null) return arms;
  /** @param {Arm} arm */
  const valueOf = (arm) => (key === "status" ? BEST_FIRST.indexOf(arm.status) : arm[key]);
  const sign = isDescending ? -1 : 1;
  return [...arms].sort((one, other) => {
    const [a, b] = [valueOf(one), valueOf(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return (a < b ? -1 : Number(a > b)) * sign;
  });
}

/**
 * What keeps an arm from its work, in words; null if nothing does.
 * @param {Arm} arm
 * @returns {string | null}
 */
export function problemOf(arm) {
  if (arm.is_unserved && arm.workers === 0) return `${count(arm.queued, "queued step")}, no worker`;
  if (arm.outage !== null) return `takes no steps: ${arm.outage}`;
  return null;
}

/**
 * A chart in one sentence, for those who do not see it.
 * @param {string} what such as "steps queued and busy"
 * @param {[name: string, values: (number | null)[], unit: "ms" | ""][]} lines
 * @returns {string}
 */
export function spoken(what, lines) {
  const parts = lines.map(([name, values, unit]) => {
    const known = values.filter((value) => value !== null);
    if (!known.length) return `${name}: nothing`;
    const last = known.at(-1) ?? 0;
    const most = known.reduce((one, other) => Math.max(one, other));
    return `${name}: last ${shown(last, unit)}, at most ${shown(most, unit)}`;
  });
  return `${what}. ${parts.join("; ")}.`;
}

/** @param {number} value @param {"ms" | ""} unit */
function shown(value, unit) {
  return unit === "ms" ? duration(value) : decimal(value);
}

/**
 * A number with at most one decimal.
 * @param {number} value
 * @returns {string}
 */
export function decimal(value) {
  return String(Math.round(value * 10) / 10);
}

/**
 * A share as per cent; "–" if it is not known.
 * @param {number | null} share 0 to 1
 * @returns {string}
 */
export function percent(share) {
  // 99.96 % is not all
  return share === null ? "–" : share === 1 ? "100 %" : `${Math.floor(share * 1000) / 10} %`;
}
