// Shows what a retry would reuse, run and cost, and then starts it.
import { go } from "../address.js";
import { newKey, send } from "../api_client.js";
import { count, money } from "../format.js";
import { CommandLines, curlOf } from "../parts/command_lines.js";
import { Dialog } from "../parts/dialog.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useEffect, useRef, useState } from "../vendor.js";
import { bodyOf, ChangesForm, cliOf, NOTHING } from "./retry_changes.js";

/** @typedef {import("./retry_changes.js").How} How */
/** @typedef {import("./retry_changes.js").Changes} Changes */

/** @type {Record<string, string>} */
const REASONS = {
  from_step: "as asked",
  inputs: "its inputs are changed",
  prompt: "it is told something else",
  model: "another model is asked",
  replay: "with the answers of the first time",
  failed: "it failed",
  failed_items: "items of it failed",
  skipped: "it was skipped",
  not_done: "it is not done",
  depends_on: "it depends on one that runs",
};

/**
 * @param {{taskId: string, fromStep?: string | null, onClose: () => void}} props fromStep: null runs only what is not done
 */
export function RetryDialog({ taskId, fromStep = null, onClose }) {
  const [from, setFrom] = useState(fromStep);
  const [preview, setPreview] = useState(/** @type {any} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [isSending, setSending] = useState(false);
  const names = useRef(/** @type {string[]} */ ([]));
  // the same key for the same retry: a second click can't start a second task
  const keys = useRef(/** @type {Map<string, string>} */ (new Map()));
  const [how, setHow] = useState(/** @type {How} */ ("plain"));
  const [changes, setChanges] = useState(/** @type {Changes} */ (NOTHING));
  const path = `/v1/tasks/${taskId}/retry`;
  const { body, wrong } = bodyOf(how, from, changes);
  const text = JSON.stringify(body);
  useEffect(() => {
    let isShown = true;
    setPreview(null);
    setFailure(wrong);
    if (wrong) return;
    send("POST", path, { ...body, dry_run: true }).then(
      ({ data }) => {
        if (!isShown) return;
        if (names.current.length === 0) names.current = [...data.reused, ...data.runs].map((one) => one.step_id);
        setPreview(data);
        setFailure(null);
      },
      (error) => isShown && setFailure(error),
    );
    return () => {
      isShown = false;
    };
  }, [taskId, text, wrong?.message]);
  const start = async () => {
    setSending(true);
    const key = keys.current.get(text) ?? newKey();
    keys.current.set(text, key);
    try {
      const { data } = await send("POST", path, body, { headers: { "Idempotency-Key": key } });
      go(`/tasks/${data.task_id}`);
    } catch (error) {
      setFailure(/** @type {Error} */ (error));
      setSending(false);
    }
  };
  return html`<${Dialog} title="Retry this task" onClose=${onClose}
    actions=${html`<button type="button" class="primary" disabled=${!preview || isSending} onClick=${start}>Start the retry</button>`}>
    <p>A retry is a new task with the same goal and plan. What is done is reused; nothing changes in this task.</p>
    <p><label for="retry-how">How</label>
      <select id="retry-how" value=${how} onChange=${(/** @type {any} */ event) => setHow(event.currentTarget.value)}>
        <option value="plain">as it was</option>
        <option value="changes">with changes</option>
        <option value="replay">replay: with the answers that models gave, for $0</option>
      </select></p>
    ${how === "changes" ? html`<${ChangesForm} names=${names.current} onChange=${setChanges} />` : null}
    ${how === "replay" ? html`<p>All steps run, and no model is asked. A step that writes gives its earlier result again.</p>` : null}
    ${how === "replay" ? null : html`<p><label for="retry-from">Run again</label>
      <select id="retry-from" value=${from ?? ""} onChange=${(/** @type {any} */ event) => setFrom(event.currentTarget.value || null)}>
        <option value="">only what is not done</option>
        ${(names.current.length > 0 ? names.current : from ? [from] : []).map((name) => html`<option value=${name}>from ${name}</option>`)}
      </select></p>`}
    <${Notice} error=${failure} />
    ${preview ? html`<${Preview} preview=${preview} />` : failure ? null : html`<p role="status">Asking what would run…</p>`}
    <${CommandLines} curl=${curlOf("POST", path, body)} cli=${cliOf(how, taskId, from, body)} />
  <//>`;
}

/** @param {{preview: any}} props */
function Preview({ preview }) {
  if (!preview.is_planned) return html`<p>The retry begins with a plan, at a cost that is not known.</p>`;
  const head = ["Step", "What happens", "Used before"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`
    <p>Runs: <strong>${count(preview.runs.length, "step")}</strong>. Reused: <strong>${count(preview.reused.length, "step")}</strong>.
      Before, what runs and the judge used ${preview.estimated_tokens === null ? "? tokens" : count(preview.estimated_tokens, "token")}, ${money(preview.estimated_cost_dollars)}.</p>
    <${Table} caption="What the retry does" head=${head}>
      ${preview.runs.map(
        (/** @type {any} */ step) => html`<tr key=${step.step_id}>
          <td class="mono">${step.step_id}</td>
          <td><strong>▶ runs</strong>: ${REASONS[step.reason] ?? step.reason}${itemsOf(step.items)}${step.asks ? html`<br /><strong>◔ a person is asked first</strong>` : null}</td>
          <td class="number">${step.estimated_tokens === null ? "?" : count(step.estimated_tokens, "token")}, ${money(step.estimated_cost_dollars)}</td>
        </tr>`,
      )}
      ${preview.reused.map(
        (/** @type {any} */ step) => html`<tr key=${step.step_id}>
          <td class="mono">${step.step_id}</td><td>↺ reused</td><td class="number">$0</td>
        </tr>`,
      )}
    <//>
  `;
}

/** @param {{reused: number, runs: number} | null} items */
function itemsOf(items) {
  return items ? `; ${items.runs} of ${count(items.runs + items.reused, "item")}` : "";
}
