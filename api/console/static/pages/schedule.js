// One schedule: what it submits and when, its next times, and what happened to it with links to its tasks.
import { go, Link, setQuery } from "../address.js";
import { get, poll } from "../api_client.js";
import { clock, count } from "../format.js";
import { Age } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { may } from "../session.js";
import { ActDialog } from "../schedules/dialogs.js";
import { OVERLAPS, reasonOf, rhythmOf, wordOf } from "../schedules/timing.js";
import { html, useEffect, useState } from "../vendor.js";

/** @typedef {import("../schedules/timing.js").Schedule} Schedule
 * @typedef {import("../schedules/timing.js").ScheduleEvent} ScheduleEvent
 * @typedef {{times: string[], local_times: string[], tz: string}} Times
 * @typedef {import("../schedules/dialogs.js").Verb} Verb */

const EVERY_MS = 5000;

/** @param {import("../pages.js").PageProps} props */
export default function SchedulePage({ params, query }) {
  const id = params.id ?? "";
  const path = `/v1/schedules/${encodeURIComponent(id)}`;
  const before = query.get("before");
  const historyPath = `${path}/events?limit=20${before ? `&before=${encodeURIComponent(before)}` : ""}`;
  const [schedule, setSchedule] = useState(/** @type {Schedule | null} */ (null));
  const [times, setTimes] = useState(/** @type {Times | null} */ (null));
  const [history, setHistory] = useState(/** @type {{events: ScheduleEvent[], next_before: number | null} | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [verb, setVerb] = useState(/** @type {Verb | null} */ (null));
  const [round, setRound] = useState(0);
  const onSchedule = (/** @type {Schedule} */ data) => {
    setSchedule(data);
    setFailure(null);
  };
  useEffect(() => poll(path, { everyMs: EVERY_MS, onData: onSchedule, onError: setFailure }), [path, round]);
  useEffect(() => poll(historyPath, { everyMs: EVERY_MS, onData: setHistory, onError: setFailure }), [historyPath, round]);
  useEffect(() => {
    if (schedule) get(`${path}/next?count=5`).then(({ data }) => setTimes(data), setFailure);
  }, [path, schedule?.next_at, schedule?.cron, schedule?.every_seconds]);
  const onDone = () => {
    if (verb === "delete") return go("/schedules");
    setVerb(null);
    setRound(round + 1);
  };
  if (!schedule) return html`<h1>Schedule</h1><${Notice} error=${failure} />${failure ? null : html`<p class="quiet">Reading the schedule.</p>`}`;
  return html`
    <h1>${schedule.name}</h1>
    <${Notice} error=${failure} />
    <div class="row">
      <${Badge} state=${schedule.state} />
      ${schedule.paused_at ? html`<span><${Age} time=${schedule.paused_at} />: ${reasonOf(schedule.paused_reason)}</span>` : null}
    </div>
    ${may("task:submit") ? html`<${Actions} isPaused=${schedule.state === "paused"} onAsk=${setVerb} />` : null}
    <${Facts} schedule=${schedule} times=${times} />
    <h2>History</h2>
    ${history ? html`<${History} events=${history.events} />` : html`<p class="quiet">Reading the history.</p>`}
    <div class="row">
      ${before ? html`<button type="button" onClick=${() => setQuery({ before: null })}>Newest</button>` : null}
      ${history?.next_before ? html`<button type="button" onClick=${() => setQuery({ before: String(history.next_before) })}>Older</button>` : null}
    </div>
    <${CommandLines} curl=${curlOf("GET", historyPath)} cli=${octollmOf("schedule", "show", id)} />
    ${verb ? html`<${ActDialog} key=${verb} schedule=${schedule} verb=${verb} onClose=${() => setVerb(null)} onDone=${onDone} />` : null}
  `;
}

/** @param {{isPaused: boolean, onAsk: (verb: Verb) => void}} props */
function Actions({ isPaused, onAsk }) {
  return html`<div class="row">
    <button type="button" class="primary" onClick=${() => onAsk("trigger")}>Trigger</button>
    <button type="button" onClick=${() => onAsk(isPaused ? "resume" : "pause")}>${isPaused ? "Resume" : "Pause"}</button>
    <button type="button" class="danger" onClick=${() => onAsk("delete")}>Delete</button>
  </div>`;
}

/** @param {{schedule: Schedule, times: Times | null}} props */
function Facts({ schedule, times }) {
  const overlap = OVERLAPS.find(([name]) => name === schedule.overlap)?.[1] ?? schedule.overlap;
  return html`<div class="panel stack">
    <p>${schedule.contract.goal}</p>
    <p>${rhythmOf(schedule)}${schedule.jitter_seconds ? `, up to ${count(schedule.jitter_seconds, "second")} later` : ""}; while its earlier task is open: ${overlap}${schedule.waiting ? ` (${schedule.waiting} waiting)` : ""}.</p>
    ${schedule.pause_after_failures ? html`<p>Pauses after ${count(schedule.pause_after_failures, "failed task")} in a row.</p>` : null}
    <p>Its tasks have the rights of the key <span class="mono">${schedule.key_id}</span>.</p>
    ${times?.times.length
      ? html`<div><h2>Next times (${times.tz})</h2>
          <ol class="plain">${times.local_times.map((text, index) => html`<li><time datetime=${times.times[index]} title=${clock(times.times[index])}>${text.replace("T", " ")}</time></li>`)}</ol></div>`
      : null}
  </div>`;
}

/** @param {{events: ScheduleEvent[]}} props */
function History({ events }) {
  if (events.length === 0) return html`<p class="panel">Nothing has happened to it in the time that is kept.</p>`;
  const head = ["When", "What", "For the time", "Task", "Why"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`<${Table} caption="History" head=${head}>
    ${events.map(
      (event) => html`<tr key=${event.id}>
        <td class="cell-short"><${Age} time=${event.timestamp} /></td>
        <td>${wordOf(event.type)}${event.kind && event.kind !== "scheduled" ? ` (${event.kind})` : ""}</td>
        <td>${event.scheduled_at ? clock(event.scheduled_at) : ""}</td>
        <td>${event.task_id ? html`<${Link} class="mono" href=${`/tasks/${event.task_id}`}>${event.task_id}<//> <${Badge} state=${event.task_status ?? "deleted"} />` : ""}</td>
        <td class="cell-text">${[reasonOf(event.reason), event.data.detail].filter(Boolean).join(": ")}</td>
      </tr>`,
    )}
  <//>`;
}
