/** The head of a task's page: what it is to do, how far it is, what it cost, and how old that knowledge is. */

import { Link } from "../address.js";
import { clock, count, duration, money } from "../format.js";
import { Badge } from "../parts/badge.js";
import { Notice } from "../parts/notice.js";
import { may } from "../session.js";
import { html, useState } from "../vendor.js";
import { CancelDialog } from "./cancel_dialog.js";
import { spentOn } from "./facts.js";
import { Liveness } from "./liveness.js";
import { RetryDialog } from "./retry_dialog.js";
import { stepsOf } from "./steps_of.js";
import { useNow } from "./use_now.js";

/**
 * @param {import("../pages/task.js").TaskProps & {id: string, live: import("./live_task.js").LiveTask}} props
 */
export function TaskHeader({ id, state, facts, n, isLive, live }) {
  const { task } = facts;
  const isOpen = state.endedAt === null;
  const spent = spentOn(facts);
  return html`<header class="task-head">
    <h1 class="goal">${task?.goal ?? "Task"}</h1>
    <div class="row">
      <${Badge} state=${state.status} label=${isOpen ? state.phase : state.status} />
      ${progressText(state)}
      <${Spent} task=${task} spent=${spent} />
      <${TimeTaken} state=${state} isLive=${isLive} />
      <span class="mono quiet">${id}</span>
      <${Actions} id=${id} isOpen=${live.log.stateAt(live.log.size).endedAt === null} />
    </div>
    <p class="row quiet"><${Liveness} live=${live} /></p>
    ${!isLive && html`<${Notice} tone="warning"><p>This is how the task was after event ${n}. Costs and results are those of now.</p><//>`}
    ${spent.isFake && html`<${Notice} tone="warning"><p>A fake model answered: what it wrote shows only that the parts work together.</p><//>`}
    ${spent.dollars === null && html`<${Notice}><p>The cost is not known: ${costReason(facts)}</p><//>`}
    <${Relations} task=${task} state=${state} />
    ${state.error && html`<${Notice} tone="warning"><p><code>${state.error.code}</code> ${state.error.message}</p><//>`}
  </header>`;
}

/**
 * @param {import("./reduce.js").State} state
 */
function progressText(state) {
  const steps = stepsOf(state);
  if (steps.length === 0) return null;
  const done = steps.filter((step) => step.state === "done").length;
  const failed = steps.filter((step) => step.state === "failed").length;
  return html`<span>${done} of ${count(steps.length, "step")} done${failed > 0 ? `, ${failed} failed` : ""}${state.round > 1 ? `, round ${state.round}` : ""}</span>`;
}

/**
 * @param {{task: Record<string, any>|null, spent: {dollars: number|null, tokens: number|null, calls: number}}} props
 */
function Spent({ task, spent }) {
  const ended = task?.metadata;
  const dollars = ended ? ended.cost_dollars : spent.dollars;
  const tokens = ended ? ended.tokens_used : spent.tokens;
  const title = `${count(spent.calls, "model call")}${ended ? "" : " until now"}`;
  return html`<span title=${title}>${money(dollars)}, ${tokens === null ? "?" : tokens.toLocaleString("en-US")} tokens</span>`;
}

/** @param {import("./facts.js").Facts} facts */
function costReason({ calls }) {
  const models = new Set();
  for (const { data } of calls) if (data.cost_dollars === null || data.cost_dollars === undefined) models.add(data.model);
  const named = [...models].filter((model) => typeof model === "string").slice(0, 3).join(", ");
  return named ? `there is no price for ${named}.` : "a call's usage was not reported.";
}

/** @param {{state: import("./reduce.js").State, isLive: boolean}} props */
function TimeTaken({ state, isLive }) {
  const { endedAt, startedAt } = state;
  const now = useNow(isLive && endedAt === null, state.lastEventAt ?? 0);
  if (startedAt === null) return null;
  const text = endedAt === null ? `for ${duration(now - startedAt)}` : `took ${duration(endedAt - startedAt)}`;
  return html`<span title=${`submitted ${clock(startedAt)}`}>${text}</span>`;
}

/** @param {{task: Record<string, any>|null, state: import("./reduce.js").State}} props */
function Relations({ task, state }) {
  const retryOf = state.retryOf ?? task?.retry_of;
  const source = task?.cache?.source_task_id;
  const schedule = task?.schedule_id;
  return html`
    ${retryOf && html`<p>Retry of <${Link} href=${`/tasks/${encodeURIComponent(retryOf)}`}>${retryOf}<//>${state.endedAt !== null && task?.task_id ? html`: <${Link} href=${`/compare?left=${encodeURIComponent(retryOf)}&right=${encodeURIComponent(task.task_id)}`}>what differs<//>` : null}</p>`}
    ${schedule && html`<p>Started by the schedule <${Link} href=${`/schedules/${encodeURIComponent(schedule)}`}>${schedule}<//> for ${clock(task?.scheduled_at)}</p>`}
    ${source && html`<p>The result ${state.endedAt === null ? "will be" : "is"} that of <${Link} href=${`/tasks/${encodeURIComponent(source)}`}>${source}<//> (cache: ${task?.cache.layer})</p>`}
    ${task?.trace_id && html`<p>Trace <code>${task.trace_id}</code></p>`}
  `;
}

/** @param {{id: string, isOpen: boolean}} props */
function Actions({ id, isOpen }) {
  const [dialog, setDialog] = useState(/** @type {"cancel"|"retry"|null} */ (null));
  return html`
    ${isOpen && may("task:cancel") && html`<button type="button" class="danger" onClick=${() => setDialog("cancel")}>Cancel the task</button>`}
    ${!isOpen && may("task:submit") && html`<button type="button" onClick=${() => setDialog("retry")}>Retry</button>`}
    ${!isOpen && html`<${Link} class="button" href=${`/compare?left=${encodeURIComponent(id)}`}>Compare<//>`}
    ${dialog === "retry" && html`<${RetryDialog} taskId=${id} onClose=${() => setDialog(null)} />`}
    ${dialog === "cancel" && html`<${CancelDialog} id=${id} onClose=${() => setDialog(null)} />`}
  `;
}
