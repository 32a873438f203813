/** Asks before a task is cancelled, and says what was stopped. */

import { send } from "../api_client.js";
import { count } from "../format.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Dialog } from "../parts/dialog.js";
import { Notice } from "../parts/notice.js";
import { html, useState } from "../vendor.js";

/** @param {{id: string, onClose: () => void}} props */
export function CancelDialog({ id, onClose }) {
  const path = `/v1/tasks/${encodeURIComponent(id)}/cancel`;
  const [reason, setReason] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState(/** @type {Error|null} */ (null));
  const [stopped, setStopped] = useState(/** @type {any[]|null} */ (null));
  const body = reason ? { reason } : {};
  const cancel = async () => {
    setBusy(true);
    try {
      setStopped((await send("POST", path, body)).data.stopped);
      setFailure(null);
    } catch (error) {
      setFailure(/** @type {Error} */ (error));
    }
    setBusy(false);
  };
  if (stopped) {
    return html`<${Dialog} title="The task is cancelled" onClose=${onClose}>
      <p role="status">${count(stopped.length, "step")} stopped${stopped.length > 0 ? `: ${named(stopped)}` : ""}.</p>
    <//>`;
  }
  const action = html`<button type="button" class="danger" disabled=${isBusy} onClick=${cancel}>Cancel the task</button>`;
  return html`<${Dialog} title="Cancel this task?" onClose=${onClose} actions=${action}>
    <p>Running steps are stopped at once, and what is not done stays undone. The task can be retried later.</p>
    <label>Reason <span class="hint">(optional)</span>
      <input value=${reason} maxlength="500" onInput=${(/** @type {any} */ event) => setReason(event.currentTarget.value)} />
    </label>
    <${Notice} error=${failure} />
    <${CommandLines} curl=${curlOf("POST", path, body)} cli=${octollmOf("cancel", id)} />
  <//>`;
}

/** @param {any[]} stopped */
function named(stopped) {
  const names = stopped.slice(0, 10).map((one) => one.step_id ?? one.step ?? one.name);
  return names.join(", ") + (stopped.length > 10 ? ", ..." : "");
}
