// Steps that were given up because they killed their workers, with a retry of their task from there.
import { Link } from "../address.js";
import { poll } from "../api_client.js";
import { count } from "../format.js";
import { Age } from "../parts/age.js";
import { CommandLines, curlOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { Pages } from "../parts/pages.js";
import { HeadCell, Table } from "../parts/table.js";
import { may } from "../session.js";
import { RetryDialog } from "../task/retry_dialog.js";
import { html, useEffect, useState } from "../vendor.js";

const EVERY_MS = 5000;

/** @typedef {{task_id: string, task_status: string, step_id: string, arm_id: string, round: number, kills: number,
 *   error: {message?: string}, failed_at: string, retried_by: string | null, links: {retry: string}}} DeadStep */

/** @param {{query: URLSearchParams}} props */
export default function DeadSteps({ query }) {
  const [page, setPage] = useState(/** @type {{steps: DeadStep[], next_cursor: string | null} | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [chosen, setChosen] = useState(/** @type {DeadStep | null} */ (null));
  const cursor = query.get("cursor");
  const path = `/v1/dead-steps?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
  useEffect(
    () =>
      poll(path, {
        everyMs: EVERY_MS,
        onData: (data) => {
          setPage(data);
          setFailure(null);
        },
        onError: setFailure,
      }),
    [path],
  );
  return html`
    <h1>Dead steps</h1>
    <p>A step that killed its worker several times is not tried again by itself. A retry runs it once more.</p>
    <${Notice} error=${failure} />
    ${page && page.steps.length === 0
      ? html`<p class="panel">${cursor ? "There are no further ones." : "No step was given up."}</p>`
      : null}
    ${page && page.steps.length > 0
      ? html`<${Table} caption="Dead steps" head=${["Step", "Task", "Arm", "Killed", "Error", "Given up", ""].map(
          (name) => html`<${HeadCell}>${name || html`<span class="visually-hidden">Action</span>`}<//>`,
        )}>
          ${page.steps.map((step) => html`<${Row} key=${`${step.task_id} ${step.step_id} ${step.round}`} step=${step} onRetry=${() => setChosen(step)} />`)}
        <//>`
      : null}
    ${page ? html`<${Pages} query=${query} next=${page.next_cursor} />` : null}
    <${CommandLines} cli="octollm dead" curl=${curlOf("GET", path)} />
    ${chosen
      ? html`<${RetryDialog} taskId=${chosen.task_id} fromStep=${startOf(chosen)} onClose=${() => setChosen(null)} />`
      : null}
  `;
}

/** @param {{step: DeadStep, onRetry: () => void}} props */
function Row({ step, onRetry }) {
  const isOpen = ["queued", "processing"].includes(step.task_status);
  return html`<tr>
    <td><${Link} href=${`/tasks/${step.task_id}?step=${encodeURIComponent(step.step_id)}&round=${step.round}`}>${step.step_id}<//></td>
    <td><${Link} class="mono" href=${`/tasks/${step.task_id}`}>${step.task_id}<//></td>
    <td>${step.arm_id}</td>
    <td>${count(step.kills, "worker")}</td>
    <td class="cell-text">${step.error?.message ?? ""}</td>
    <td><${Age} time=${step.failed_at} /></td>
    <td>
      ${step.retried_by
        ? html`retried as <${Link} class="mono" href=${`/tasks/${step.retried_by}`}>${step.retried_by}<//>`
        : isOpen
          ? html`<span class="quiet">its task is still open</span>`
          : may("task:submit")
            ? html`<button type="button" onClick=${onRetry}>Retry</button>`
            : null}
    </td>
  </tr>`;
}

/**
 * Return the step to retry from; null for $plan and $judge, which are not steps of the plan: every retry runs them again.
 * @param {DeadStep} step
 */
function startOf(step) {
  return step.step_id.startsWith("$") ? null : step.step_id;
}
