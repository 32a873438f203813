// The tenant's schedules: what each submits, when it does so next, and the way to make one.
import { go, Link, setQuery } from "../address.js";
import { poll } from "../api_client.js";
import { Age } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { Pages } from "../parts/pages.js";
import { HeadCell, Table } from "../parts/table.js";
import { may } from "../session.js";
import { MakeSchedule } from "../schedules/dialogs.js";
import { reasonOf, rhythmOf } from "../schedules/timing.js";
import { html, useEffect, useState } from "../vendor.js";

/** @typedef {import("../schedules/timing.js").Schedule} Schedule */

const EVERY_MS = 5000;

/** @param {import("../pages.js").PageProps} props */
export default function Schedules({ query }) {
  const [page, setPage] = useState(/** @type {{schedules: Schedule[], next_cursor: string | null} | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const cursor = query.get("cursor");
  const path = `/v1/schedules?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
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
  const close = () => setQuery({ make: null });
  const head = ["Schedule", "State", "When", "Next", "Goal"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`
    <h1>Schedules</h1>
    <div class="stack">
      ${may("task:submit") ? html`<button type="button" class="primary" onClick=${() => setQuery({ make: "1" })}>Make a schedule</button>` : null}
      <${Notice} error=${failure} />
    </div>
    ${page === null && !failure ? html`<p class="quiet">Reading the schedules.</p>` : null}
    ${page?.schedules.length === 0 ? html`<p class="panel">There is no schedule${cursor ? " behind these" : " yet"}. A schedule submits a contract again and again.</p>` : null}
    ${page && page.schedules.length > 0
      ? html`<${Table} caption="Schedules" head=${head}>${page.schedules.map((one) => html`<${Row} key=${one.schedule_id} one=${one} />`)}<//>`
      : null}
    ${page ? html`<${Pages} query=${query} next=${page.next_cursor} />` : null}
    <${CommandLines} curl=${curlOf("GET", path)} cli=${octollmOf("schedule", "list")} />
    ${query.get("make") && may("task:submit")
      ? html`<${MakeSchedule} onClose=${close} onMade=${(/** @type {Schedule} */ made) => go(`/schedules/${made.schedule_id}`)} />`
      : null}
  `;
}

/** @param {{one: Schedule}} props */
function Row({ one }) {
  return html`<tr>
    <td><${Link} href=${`/schedules/${one.schedule_id}`}>${one.name}<//></td>
    <td><${Badge} state=${one.state} title=${reasonOf(one.paused_reason)} /></td>
    <td class="cell-text">${rhythmOf(one)}</td>
    <td class="cell-short">${one.state === "active" ? html`<${Age} time=${one.due_at} />` : "none"}</td>
    <td class="cell-text">${one.contract.goal}</td>
  </tr>`;
}
