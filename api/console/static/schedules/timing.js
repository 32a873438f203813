// What a schedule does, in words; and the body of a new one from the fields of its form.
import { octollmOf } from "../parts/shell_line.js";

/**
 * @typedef {{schedule_id: string, name: string, state: string, cron: string | null, tz: string | null,
 *   every_seconds: number | null, jitter_seconds: number, overlap: string, catchup_window_seconds: number,
 *   pause_after_failures: number | null, next_at: string | null, due_at: string | null, waiting: number,
 *   paused_at: string | null, paused_reason: string | null, key_id: string, created_at: string,
 *   contract: Record<string, any>}} Schedule
 * @typedef {{id: number, timestamp: string, type: string, kind: string | null, scheduled_at: string | null,
 *   task_id: string | null, task_status: string | null, reason: string | null, data: Record<string, any>}} ScheduleEvent
 * @typedef {{name: string, contract: string, by: "cron" | "every", cron: string, tz: string, minutes: number,
 *   overlap: string, jitter: number, failures: number}} ScheduleDraft jitter: seconds; failures: 0 for none
 */

/** @type {[name: string, words: string][]} */
export const OVERLAPS = [
  ["skip", "start none"],
  ["queue_one", "let one wait"],
  ["cancel_other", "cancel the earlier one"],
  ["allow", "run both"],
];

/** @type {Record<string, string>} */
const REASONS = {
  overlap: "its earlier task was open",
  catchup: "missed while nothing ran",
  contract_refused: "its contract is refused",
  too_many_tasks: "the tenant had too many open tasks",
  tenant_limit_exceeded: "a limit of the tenant",
  queue_full: "too much work was queued",
  fired_before: "it had started a task before",
  error: "a fault of the server",
  asked: "as asked",
  key_lost: "its key does not work any more",
  failures: "too many tasks failed",
};

/** @type {Record<string, string>} */
const EVENTS = {
  "fire.started": "started",
  "fire.skipped": "skipped",
  "fire.waiting": "waiting",
  "schedule.created": "created",
  "schedule.changed": "changed",
  "schedule.paused": "paused",
  "schedule.resumed": "resumed",
  "schedule.backfill": "backfill",
};

/** @param {string | null} reason */
export function reasonOf(reason) {
  return reason ? (REASONS[reason] ?? reason) : "";
}

/** @param {string} type */
export function wordOf(type) {
  return EVENTS[type] ?? type;
}

/** @param {Schedule} schedule */
export function rhythmOf({ cron, tz, every_seconds: seconds }) {
  if (cron) return `${cron} (${tz})`;
  const [unit, length] = /** @type {[string, number][]} */ ([["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]]).find(
    ([, size]) => (seconds ?? 1) % size === 0,
  ) ?? ["second", 1];
  const number = (seconds ?? 1) / length;
  return number === 1 ? `every ${unit}` : `every ${number} ${unit}s`;
}

/** @param {Record<string, any>} contract @returns {ScheduleDraft} */
export function emptySchedule(contract) {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  return {
    name: "", contract: JSON.stringify(contract, null, 2), by: "cron", cron: "30 6 * * 1-5", tz: timeZone || "UTC",
    minutes: 60, overlap: "skip", jitter: 0, failures: 0,
  };
}

/**
 * Return the body of POST /v1/schedules; null where the contract is no JSON object.
 * @param {ScheduleDraft} draft
 * @returns {Record<string, any> | null}
 */
export function bodyOf(draft) {
  let contract;
  try {
    contract = JSON.parse(draft.contract);
  } catch {
    return null;
  }
  if (typeof contract !== "object" || contract === null || Array.isArray(contract)) return null;
  return {
    name: draft.name.trim(),
    contract,
    ...(draft.by === "cron" ? { cron: draft.cron.trim(), tz: draft.tz.trim() } : { every_seconds: draft.minutes * 60 }),
    overlap: draft.overlap,
    ...(draft.jitter ? { jitter_seconds: draft.jitter } : {}),
    ...(draft.failures ? { pause_after_failures: draft.failures } : {}),
  };
}

/**
 * Return the octollm line that makes it; null where the contract has more than a goal, which it has other options for.
 * @param {ScheduleDraft} draft
 */
export function createLine(draft) {
  const body = bodyOf(draft);
  if (!body || Object.keys(body.contract).some((name) => name !== "goal")) return null;
  const times = draft.by === "cron" ? ["--cron", body.cron, "--tz", body.tz] : ["--every", `${draft.minutes}m`];
  const jitter = draft.jitter ? ["--jitter", `${draft.jitter}s`] : [];
  const failures = draft.failures ? ["--pause-after", String(draft.failures)] : [];
  return octollmOf("schedule", "create", body.name, body.contract.goal ?? "", ...times, "--overlap", body.overlap, ...jitter, ...failures);
}
