/** The budget lane: what a task's calls to models reserved and were charged by time, against the limit. */

import { address, setQuery } from "../address.js";
import { ApiError, get, poll } from "../api_client.js";
import { money } from "../format.js";
import { html, useEffect, useState } from "../vendor.js";
import { comparedBy, costsOf, levelAt, levelsOf } from "./budget_series.js";
import { xOf } from "./time_scale.js";

/**
 * @typedef {import("./budget_series.js").BudgetEntry} BudgetEntry
 * @typedef {import("./budget_series.js").Level} Level
 * @typedef {import("./budget_series.js").Unit} Unit
 *
 * @typedef {object} Budget
 * @property {{max_tokens: number|null, max_cost_dollars: number|null}} limits
 * @property {BudgetEntry[]} entries
 * @property {boolean} isComplete false: there are more calls than are shown
 */

const HEIGHT = 72;
const TOP = 10;
const EVERY_MS = 3000;
const PAGE = 1000;
const MOST_ENTRIES = 10_000;

/**
 * Read a task's budget: at once, from time to time while the task is open, and at its end.
 * @param {string} taskId
 * @param {{isOpen: boolean, seq: number}} task seq: number of its last event
 * @returns {Budget|null} null: not read yet
 */
export function useBudget(taskId, { isOpen, seq }) {
  const [budget, setBudget] = useState(/** @type {Budget|null} */ (null));
  const path = `/v1/tasks/${encodeURIComponent(taskId)}/budget`;
  useEffect(() => {
    let isShown = true;
    const onData = (/** @type {any} */ first) =>
      whole(path, first).then((read) => isShown && setBudget(read), unlessRefused);
    const stop = isOpen ? poll(path, { everyMs: EVERY_MS, onData }) : () => {};
    if (!isOpen) get(path).then((answer) => onData(answer.data), unlessRefused);
    return () => {
      isShown = false;
      stop();
    };
  }, [path, isOpen, isOpen ? 0 : seq]);
  return budget;
}

/**
 * @param {string} path
 * @param {any} first the first page
 * @returns {Promise<Budget>} with the entries of the pages that follow
 */
async function whole(path, first) {
  const entries = [...first.entries];
  let next = first;
  while (next.entries.length === PAGE && entries.length < MOST_ENTRIES) {
    next = (await get(`${path}?after=${next.next_after}`)).data;
    entries.push(...next.entries);
  }
  return { limits: first.limits, entries, isComplete: next.entries.length < PAGE };
}

/**
 * Leave the lane as it is: the page itself tells that the API refuses or can't be reached.
 * @param {Error} error
 */
function unlessRefused(error) {
  if (!(error instanceof ApiError)) throw error;
}

/**
 * @param {{budget: Budget|null, scale: import("./time_scale.js").TimeScale, moment: number|null,
 *   now: import("../vendor.js").ReadonlySignal<number>}} props
 */
export function BudgetLane({ budget, scale, moment, now }) {
  if (!budget) return null;
  if (budget.entries.length === 0) return html`<p class="tl-lane-none quiet">No model was called, so the budget is untouched.</p>`;
  const unit = unitOf(budget.entries);
  const levels = levelsOf(budget.entries, unit);
  const limit = unit === "tokens" ? budget.limits.max_tokens : budget.limits.max_cost_dollars;
  const level = levelAt(levels, moment ?? now.value);
  return html`
    <div class="tl-lane">
      <span class="tl-label">
        <label class="tl-pick">Budget
          <select value=${unit} onChange=${(/** @type {any} */ event) => setQuery({ budget: event.currentTarget.value })}>
            <option value="tokens">tokens</option>
            <option value="dollars">dollars</option>
          </select>
        </label>
      </span>
      <${Picture} levels=${levels} scale=${scale} limit=${limit} end=${now.value} moment=${moment} label=${summary(level, { unit, limit })} />
      <p class="tl-lane-text">
        <span class="tl-key settled"></span> settled ${amount(level.settled, unit)}
        <span class="tl-key reserved"></span> reserved ${amount(level.reserved, unit)}
        <span class="tl-key cap"></span> limit ${limit === null ? "none" : amount(limit, unit)}
        ${level.unknown > 0 ? html`<strong>? ${level.unknown} of ${budget.entries.length} calls have an unknown cost</strong>` : null}
        ${budget.isComplete ? null : html`<span>only the first ${budget.entries.length} calls are shown</span>`}
      </p>
    </div>
  `;
}

/**
 * @param {{levels: Level[], scale: import("./time_scale.js").TimeScale, limit: number|null, end: number, moment: number|null,
 *   label: string}} props
 */
function Picture({ levels, scale, limit, end, moment, label }) {
  const most = levels.reduce((peak, level) => Math.max(peak, level.settled + level.reserved), 0);
  // a limit that is far above what is used would make the amounts too flat to read
  const isLimitShown = limit !== null && limit <= most * 5;
  const top = Math.max(isLimitShown ? limit : 0, most, Number.MIN_VALUE) * 1.05;
  const y = (/** @type {number} */ value) => HEIGHT - (value / top) * (HEIGHT - TOP);
  const area = (/** @type {(level: Level) => number} */ value) => {
    const steps = levels.map((level) => `H${xOf(scale, level.at).toFixed(1)}V${y(value(level)).toFixed(1)}`).join("");
    return `M0 ${HEIGHT}${steps}H${xOf(scale, end).toFixed(1)}V${HEIGHT}Z`;
  };
  return html`
    <svg class="tl-picture tl-lane-picture" width=${scale.width} height=${HEIGHT} role="img" aria-label=${label}>
      <path class="tl-reserved" fill="url(#tl-retry)" d=${area((level) => level.settled + level.reserved)} />
      <path class="tl-settled" d=${area((level) => level.settled)} />
      ${isLimitShown
        ? html`<line class="tl-cap" x1="0" x2=${scale.width} y1=${y(limit)} y2=${y(limit)} />`
        : limit !== null
          ? html`<text class="tl-cap-text" x=${scale.width - 4} y="9" text-anchor="end">limit is higher ↑</text>`
          : null}
      ${moment === null ? null : html`<line class="tl-now" x1=${xOf(scale, moment)} x2=${xOf(scale, moment)} y1="0" y2=${HEIGHT} />`}
      ${levels.map((level, index) =>
        level.unknown > (levels[index - 1]?.unknown ?? 0)
          ? html`<text class="tl-unknown-mark" x=${xOf(scale, level.at)} y=${HEIGHT - 4}>?</text>`
          : null,
      )}
    </svg>
  `;
}

/**
 * @param {readonly BudgetEntry[]} entries
 * @returns {Unit} the one that the address names, else the one that says more
 */
function unitOf(entries) {
  const wanted = address.value.query.get("budget");
  return wanted === "tokens" || wanted === "dollars" ? wanted : comparedBy(costsOf(entries).values());
}

/**
 * @param {Level} level
 * @param {{unit: Unit, limit: number|null}} of
 * @returns {string}
 */
function summary(level, { unit, limit }) {
  const parts = [`settled ${amount(level.settled, unit)}`, `reserved ${amount(level.reserved, unit)}`];
  return `budget by time in ${unit}: ${parts.join(", ")}, limit ${limit === null ? "none" : amount(limit, unit)}`;
}

/**
 * @param {number} value
 * @param {Unit} unit
 * @returns {string}
 */
function amount(value, unit) {
  return unit === "tokens" ? value.toLocaleString("en-US") : money(value);
}
