// The dialogs of the pages of schedules: make one, and act on one (trigger, pause, resume, delete).
import { newKey, send } from "../api_client.js";
import { useDraft } from "../new_task/draft.js";
import { contractOf } from "../new_task/contract.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Dialog } from "../parts/dialog.js";
import { Notice } from "../parts/notice.js";
import { html, useId, useRef, useState } from "../vendor.js";
import { bodyOf, createLine, emptySchedule, OVERLAPS } from "./timing.js";

/** @typedef {import("./timing.js").Schedule} Schedule
 * @typedef {import("./timing.js").ScheduleEvent} ScheduleEvent
 * @typedef {import("./timing.js").ScheduleDraft} ScheduleDraft
 * @typedef {"trigger" | "pause" | "resume" | "delete"} Verb */

/** @type {Record<Verb, {title: string, words: string}>} */
const VERBS = {
  trigger: { title: "Trigger", words: "It starts a task now, as its overlap allows; its next time does not change." },
  pause: { title: "Pause", words: "No time of it starts a task until it is resumed. Open tasks go on." },
  resume: { title: "Resume", words: "It goes on with its next time, with the rights of your key. What was missed is not caught up." },
  delete: { title: "Delete", words: "Its history is deleted with it. Its tasks stay, and open ones go on." },
};

/** @param {{onClose: () => void, onMade: (made: Schedule) => void}} props */
export function MakeSchedule({ onClose, onMade }) {
  const [task] = useDraft();
  const [draft, setDraft] = useState(() => emptySchedule(contractOf(task).contract));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  const id = useId();
  const body = bodyOf(draft);
  const change = (/** @type {Partial<ScheduleDraft>} */ members) => setDraft({ ...draft, ...members });
  const make = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      onMade((await send("POST", "/v1/schedules", body)).data);
    } catch (error) {
      setFailure(/** @type {Error} */ (error));
      setBusy(false);
    }
  };
  return html`<${Dialog} title="Make a schedule" onClose=${onClose} actions=${html`
    <button class="primary" type="submit" form=${id} disabled=${isBusy || body === null}>Make the schedule</button>`}>
    <${Notice} error=${failure} />
    <form id=${id} class="stack" onSubmit=${make}>
      <${Text} label="Name" value=${draft.name} maxlength="100" required onWrite=${(/** @type {string} */ name) => change({ name })} />
      <label>Contract <span class="hint">the body of a submission; the page New task writes one</span>
        <textarea class="wide mono" rows="6" value=${draft.contract} aria-invalid=${body === null ? "true" : null}
          onInput=${(/** @type {any} */ event) => change({ contract: event.currentTarget.value })}></textarea>
      </label>
      ${body === null ? html`<${Notice} tone="warning">The contract is no JSON object.<//>` : null}
      <${When} draft=${draft} onChange=${change} />
      <label>While its earlier task is open
        <select value=${draft.overlap} onChange=${(/** @type {any} */ event) => change({ overlap: event.currentTarget.value })}>
          ${OVERLAPS.map(([name, words]) => html`<option value=${name}>${words}</option>`)}
        </select>
      </label>
      <${Whole} label="Start up to so many seconds later" max="3600" value=${draft.jitter} onNumber=${(/** @type {number} */ jitter) => change({ jitter })} />
      <${Whole} label="Pause after so many failed tasks in a row" hint="0: never" max="100" value=${draft.failures} onNumber=${(/** @type {number} */ failures) => change({ failures })} />
    </form>
    <${CommandLines} curl=${body && curlOf("POST", "/v1/schedules", body)} cli=${createLine(draft)} />
  <//>`;
}

/** @param {{draft: ScheduleDraft, onChange: (members: Partial<ScheduleDraft>) => void}} props */
function When({ draft, onChange }) {
  const by = (/** @type {"cron" | "every"} */ way, /** @type {string} */ words) =>
    html`<label><input type="radio" name="schedule-by" checked=${draft.by === way} onChange=${() => onChange({ by: way })} /> ${words}</label>`;
  return html`<fieldset class="ways">
      <legend>When</legend>
      ${by("cron", "by a cron line")} ${by("every", "at an interval")}
    </fieldset>
    ${draft.by === "cron"
      ? html`<${Text} label="Cron line" hint="minute, hour, day of the month, month, day of the week" value=${draft.cron} maxlength="100" required
            onWrite=${(/** @type {string} */ cron) => onChange({ cron })} />
          <${Text} label="Time zone" value=${draft.tz} maxlength="64" required onWrite=${(/** @type {string} */ tz) => onChange({ tz })} />`
      : html`<${Whole} label="Minutes" min="1" max="527040" value=${draft.minutes} onNumber=${(/** @type {number} */ minutes) => onChange({ minutes })} />`}`;
}

/** @param {{label: string, hint?: string, value: string, onWrite: (text: string) => void, [attribute: string]: any}} props */
function Text({ label, hint = "", value, onWrite, ...attributes }) {
  return html`<label>${label} ${hint ? html`<span class="hint">${hint}</span>` : null}
    <input value=${value} ...${attributes} onInput=${(/** @type {any} */ event) => onWrite(event.currentTarget.value)} />
  </label>`;
}

/** @param {{label: string, hint?: string, value: number, onNumber: (number: number) => void, [attribute: string]: any}} props */
function Whole({ label, hint = "", value, onNumber, ...attributes }) {
  return html`<label>${label} ${hint ? html`<span class="hint">${hint}</span>` : null}
    <input type="number" min="0" value=${value} ...${attributes}
      onInput=${(/** @type {any} */ event) => onNumber(event.currentTarget.valueAsNumber || 0)} />
  </label>`;
}

/** @param {{schedule: Schedule, verb: Verb, onClose: () => void, onDone: (data: any) => void}} props */
export function ActDialog({ schedule, verb, onClose, onDone }) {
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  // the same key as long as the dialog is open: a second click can't start a second task
  const key = useRef(newKey());
  const whole = `/v1/schedules/${schedule.schedule_id}`;
  const [method, path] = verb === "delete" ? ["DELETE", whole] : ["POST", `${whole}/${verb}`];
  const { title, words } = VERBS[verb];
  const act = async () => {
    setBusy(true);
    setFailure(null);
    try {
      const headers = verb === "trigger" ? { "Idempotency-Key": key.current } : undefined;
      onDone((await send(method, path, undefined, { headers })).data);
    } catch (error) {
      setFailure(/** @type {Error} */ (error));
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${`${title} ${schedule.name}?`} onClose=${onClose} actions=${html`
    <button type="button" class=${verb === "delete" ? "danger" : "primary"} disabled=${isBusy} onClick=${act}>${title}</button>`}>
    <${Notice} error=${failure} />
    <p>${words}</p>
    <${CommandLines} curl=${curlOf(method, path)} cli=${octollmOf("schedule", verb, schedule.schedule_id)} />
  <//>`;
}
