// Says what a task and each of its open steps wait for: for what, for whom, and until when.
import { poll } from "../api_client.js";
import { Link } from "../address.js";
import { count } from "../format.js";
import { Notice } from "../parts/notice.js";
import { TimeLeft, useNow } from "../parts/time_left.js";
import { html, useEffect, useState } from "../vendor.js";
import { lookOf, ordered } from "./waiting_order.js";

const EVERY_MS = 2000;
const FIRST = 6;
const FINAL = ["completed", "failed", "cancelled"];

/** @typedef {import("./waiting_order.js").Sentence} Sentence */

/**
 * The sentences about a task, read again every 2 s while the tab is visible and the task is open.
 *
 * They are about the present, whatever event the page shows. Nothing is shown or asked for a task that has ended.
 * @param {{facts: import("./facts.js").Facts, state: import("./reduce.js").State, onSelect: (step: string) => void}} props
 */
export function WaitingSentences({ facts, state, onSelect }) {
  const taskId = facts.task?.task_id;
  const [waiting, setWaiting] = useState(/** @type {{sentences: Sentence[], left_out: number} | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const isOpen = facts.task !== null && !FINAL.includes(facts.task.status) && state.endedAt === null;
  useEffect(() => {
    setWaiting(null);
    if (!isOpen) return undefined;
    return poll(`/v1/tasks/${taskId}/waiting`, {
      everyMs: EVERY_MS,
      onData: (data) => {
        setWaiting(data);
        setFailure(null);
      },
      onError: setFailure,
    });
  }, [taskId, isOpen]);
  if (!isOpen) return null;
  if (!waiting) return html`<${Notice} error=${failure} />`;
  const { task, steps } = ordered(waiting.sentences);
  if (!task && !steps.length) return null;
  const rest = steps.slice(FIRST);
  return html`<section class="waiting" aria-label="What the task waits for">
    ${failure && html`<${Notice} error=${failure} />`}
    ${task && html`<p class="waiting-task">${task.text}</p>`}
    <${List} sentences=${steps.slice(0, FIRST)} onSelect=${onSelect} />
    ${rest.length > 0 &&
    html`<details>
      <summary>${`${rest.length + waiting.left_out} more`}</summary>
      <${List} sentences=${rest} onSelect=${onSelect} />
      ${waiting.left_out > 0 && html`<p class="quiet">${count(waiting.left_out, "open step")} not shown</p>`}
    </details>`}
  </section>`;
}

/** @param {{sentences: Sentence[], onSelect: (step: string) => void}} props */
function List({ sentences, onSelect }) {
  const now = useNow();
  if (!sentences.length) return null;
  return html`<ul class="waiting-list">
    ${sentences.map((one) => {
      const [, tone, glyph, name] = lookOf(one.kind);
      const step = one.step_id;
      return html`<li key=${`${step} ${one.kind} ${one.text}`} class=${tone}>
        <span class=${`badge ${tone}`}><span aria-hidden="true">${glyph}</span>${name}</span>
        <span class="waiting-text">
          ${one.text}
          ${one.until && html` <span class="quiet">(<${TimeLeft} until=${one.until} now=${now} />)</span>`}
          ${one.approval_id && html` <${Link} href=${`/approvals?approval=${one.approval_id}`}>Decide<//>`}
          ${step !== null &&
          html` <button type="button" class="quiet" onClick=${() => onSelect(step)}>
            Show<span class="visually-hidden"> step ${step}</span>
          </button>`}
        </span>
      </li>`;
    })}
  </ul>`;
}
