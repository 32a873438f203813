// The table of tasks; on a narrow screen each row is a card.
import { Link } from "../address.js";
import { count, duration, money } from "../format.js";
import { Age, Elapsed } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { filterBy } from "../parts/filter_fields.js";
import { HeadCell } from "../parts/table.js";
import { html } from "../vendor.js";

/** @typedef {import("./arrivals.js").Task} Task */

const OPEN = ["queued", "processing"];

/**
 * @param {{tasks: Task[], gone: string[], sort: string, isBusy: boolean}} props gone: ids of rows that are not in the
 *   list any more; isBusy: rows for another address are being read
 */
export function Rows({ tasks, gone, sort, isBusy }) {
  return html`<table class="tasks" role="table" aria-busy=${isBusy} onKeyDown=${moveFocus}>
    <caption class="visually-hidden">Tasks</caption>
    <thead role="rowgroup"><tr role="row">
      <${HeadCell}>Goal<//>
      <${HeadCell}>Status<//>
      <${HeadCell}>Progress<//>
      <${HeadCell} isNumber sorted=${sort === "dearest" ? "descending" : null} onSort=${() => filterBy("sort", "dearest")}>Cost<//>
      <${HeadCell} isNumber sorted=${sort === "longest" ? "descending" : null} onSort=${() => filterBy("sort", "longest")}>Duration<//>
      <${HeadCell} sorted=${submittedOrder(sort)} onSort=${() => filterBy("sort", sort === "newest" ? "oldest" : null)}>Submitted<//>
      <${HeadCell} sorted=${sort === "updated" ? "descending" : null} onSort=${() => filterBy("sort", "updated")}>Updated<//>
    </tr></thead>
    <tbody role="rowgroup">
      ${tasks.map((task) => html`<${Row} key=${task.task_id} task=${task} isGone=${gone.includes(task.task_id)} />`)}
    </tbody>
  </table>`;
}

/** @param {{task: Task, isGone: boolean}} props */
function Row({ task, isGone }) {
  return html`<tr role="row" class=${isGone ? "gone" : null}>
    <td role="cell" class="goal">
      <${Link} href=${`/tasks/${task.task_id}`} data-row>${task.goal}<//>
      <span class="mono quiet">${task.task_id}${task.priority === "medium" ? "" : ` · ${task.priority}`}</span>
    </td>
    <td role="cell" class="status">
      ${isGone
        ? html`<span class="quiet" title="It changed since, or newer tasks took its place.">not in the list now</span>`
        : html`<${Badge} state=${task.status} title=${task.phase} />`}
      ${task.waiting && !isGone
        ? html`<${Link} href="/approvals" class="to-approve"><${Badge} state="waiting" label=${count(task.waiting, "approval")} /><//>`
        : null}
    </td>
    <td role="cell" class="progress"><${Progress} task=${task} /></td>
    <td role="cell" class="number" data-name="Cost">
      <span title=${task.cost_dollars === null ? "unknown: a model without a known price" : count(task.tokens_used, "token")}>${money(task.cost_dollars)}</span>
    </td>
    <td role="cell" class="number" data-name="Duration">
      ${task.processing_time_ms !== null
        ? duration(task.processing_time_ms)
        : OPEN.includes(task.status) && !isGone
          ? html`<${Elapsed} since=${task.created_at} />`
          : "?"}
    </td>
    <td role="cell" data-name="Submitted"><${Age} time=${task.created_at} /></td>
    <td role="cell" data-name="Updated"><${Age} time=${task.updated_at} /></td>
  </tr>`;
}

/** @param {{task: Task}} props */
function Progress({ task }) {
  const steps = task.total_steps ? `${task.completed_steps} of ${count(task.total_steps, "step")}` : "no plan yet";
  return html`<span class="task-progress">
    <progress max="100" value=${task.percentage} aria-label=${`Progress of ${task.task_id}`}></progress>
    <span>${task.percentage} %, ${steps}</span>
  </span>`;
}

/** @param {string} sort */
function submittedOrder(sort) {
  return sort === "newest" ? "descending" : sort === "oldest" ? "ascending" : null;
}

/**
 * The arrow keys go from row to row; Enter opens the row's link.
 * @param {KeyboardEvent} event
 */
function moveFocus(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  const table = /** @type {HTMLElement} */ (event.currentTarget);
  const links = [.../** @type {NodeListOf<HTMLElement>} */ (table.querySelectorAll("[data-row]"))];
  const row = /** @type {HTMLElement} */ (event.target).closest("tr")?.querySelector("[data-row]");
  const at = links.indexOf(/** @type {HTMLElement} */ (row));
  const next = links[at < 0 ? 0 : at + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
