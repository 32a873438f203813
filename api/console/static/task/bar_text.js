/** A bar of the timeline in words: what its row waited for, how long it ran, when, and how it ended. */

import { clock, duration, money } from "../format.js";
import { isPutOff, lengthOf } from "./segments.js";

/**
 * @typedef {import("./timeline_rows.js").RowBar} RowBar
 * @typedef {import("./segments.js").SegmentKind} SegmentKind
 */

/** @type {Record<SegmentKind, {label: string, past: string, present: string}>} */
export const KINDS = {
  blocked: { label: "waits for other steps", past: "waited for other steps", present: "waits for other steps" },
  slot: { label: "waits for a slot", past: "waited for a slot of the task", present: "waits for a slot of the task" },
  approval: { label: "waits for a decision", past: "waited for a decision", present: "waits for a decision" },
  queue: { label: "waits for a worker", past: "waited for a worker", present: "waits for a worker" },
  run: { label: "runs", past: "ran", present: "runs" },
  retry: { label: "waits for its next attempt", past: "waited for its next attempt", present: "waits for its next attempt" },
};

/** @type {Record<string, {text: string, glyph: string, tone: string}>} */
const OUTCOMES = {
  done: { text: "done", glyph: "✓", tone: "good" },
  failed: { text: "failed", glyph: "✗", tone: "bad" },
  retried: { text: "failed, to be tried again", glyph: "↻", tone: "bad" },
  skipped: { text: "skipped", glyph: "⇢", tone: "idle" },
  cancelled: { text: "cancelled", glyph: "⊘", tone: "idle" },
  reused: { text: "reused from an earlier task", glyph: "=", tone: "good" },
  lease_expired: { text: "lost: its worker did not renew its lease", glyph: "✗", tone: "bad" },
  worker_lost: { text: "lost: its worker died", glyph: "✗", tone: "bad" },
  handed_back: { text: "handed back by a worker that stopped", glyph: "↻", tone: "idle" },
  outcome_unknown: { text: "its outcome is unknown", glyph: "?", tone: "bad" },
};

/**
 * Return how an attempt ended.
 * @param {RowBar} bar
 * @returns {{text: string, glyph: string, tone: string}}
 */
export function outcomeOf(bar) {
  if (isPutOff(bar)) return { text: "put off until there is room", glyph: "‖", tone: "hold" };
  if (bar.outcome !== null) return OUTCOMES[bar.outcome] ?? { text: bar.outcome, glyph: "?", tone: "idle" };
  const runs = bar.segments.at(-1)?.kind === "run";
  return runs ? { text: "running", glyph: "▶", tone: "busy" } : { text: "waiting", glyph: "◔", tone: "hold" };
}

/**
 * Return what a row of that name is called.
 * @param {string} name
 * @returns {string}
 */
export function titleOf(name) {
  if (name === "$plan") return "planner";
  if (name === "$judge") return "judge";
  return name.endsWith("[]") ? `list of ${name.slice(0, -2)}` : name;
}

/**
 * Return a bar in one sentence, without the exact times.
 * @param {RowBar} bar
 * @param {number} now
 * @returns {string}
 */
export function barLabel(bar, now) {
  const parts = bar.segments.map((segment) => `${words(segment)} ${duration(lengthOf(segment, now))}`);
  const place = `${titleOf(bar.step)}, round ${bar.round}, attempt ${bar.attempt}`;
  return `${place}: ${[...parts, outcomeOf(bar).text].join(", ")}`;
}

/**
 * Return each part of a bar with its exact times.
 * @param {RowBar} bar
 * @param {{now: number, cost: import("./budget_series.js").Cost|undefined}} facts
 * @returns {string[]}
 */
export function barDetails(bar, { now, cost }) {
  const lines = bar.segments.map((segment) => {
    const until = segment.to === null ? "now" : clock(segment.to);
    return `${words(segment)} ${duration(lengthOf(segment, now))}: ${clock(segment.from)} to ${until}`;
  });
  if (bar.segments.length === 0) lines.push(`${outcomeOf(bar).text}: ${clock(bar.to)}`);
  if (bar.worker) lines.push(`worker ${bar.worker}`);
  if (cost) lines.push(`${cost.tokens.toLocaleString("en-US")} tokens, ${money(cost.dollars)}`);
  if (bar.error) lines.push(`${bar.error.code}: ${bar.error.message.slice(0, 200)}`);
  return lines;
}

/**
 * @param {import("./segments.js").Segment} segment
 * @returns {string}
 */
function words(segment) {
  return segment.to === null ? KINDS[segment.kind].present : KINDS[segment.kind].past;
}
