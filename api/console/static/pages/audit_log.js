// The audit log of the tenant: who did what, from where, and whether it was allowed.
import { Link, setQuery } from "../address.js";
import { poll } from "../api_client.js";
import { clock, count } from "../format.js";
import { Age } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf } from "../parts/command_lines.js";
import { filterBy, TextField, TimeField } from "../parts/filter_fields.js";
import { Notice } from "../parts/notice.js";
import { Pages } from "../parts/pages.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useEffect, useState } from "../vendor.js";

const EVERY_MS = 5000;
const OUTCOMES = ["allowed", "denied", "failed"];
const FILTERS = ["action", "outcome", "key", "from", "to"];
const NO_FILTER = Object.fromEntries([...FILTERS, "cursor"].map((name) => [name, null]));

/** @typedef {{occurred_at: string, action: string, outcome: string, object: string | null, key_id: string | null,
 *   subject: string | null, address: string | null, reason: string | null, request_id: string | null, times: number}} Entry
 * @typedef {{entries: Entry[], seen_back_to: string | null, next_cursor: string | null}} Page */

/** @param {{query: URLSearchParams}} props */
export default function AuditLog({ query }) {
  const path = apiPath(query);
  const [page, setPage] = useState(/** @type {Page | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(() => {
    setFailure(null);
    return poll(path, {
      everyMs: EVERY_MS,
      onData: (data) => {
        setPage(data);
        setFailure(null);
      },
      onError: setFailure,
    });
  }, [path]);
  return html`
    <h1>Audit log</h1>
    <${Filters} query=${query} />
    <${Notice} error=${failure} />
    ${page?.seen_back_to
      ? html`<${Notice}>The server looked at as many entries as it may for this page, back to ${clock(page.seen_back_to)}. The next page goes on behind them.<//>`
      : null}
    ${page ? html`<${Entries} entries=${page.entries} />` : html`<p class="quiet">Reading the log.</p>`}
    ${page ? html`<${Pages} query=${query} next=${page.next_cursor} />` : null}
    <${CommandLines} curl=${curlOf("GET", path)} />
  `;
}

/** @param {{query: URLSearchParams}} props */
function Filters({ query }) {
  const isFiltered = FILTERS.some((name) => query.get(name));
  return html`<form class="row filter-bar" role="search" aria-label="Audit log" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
    <${TextField} label="Action" name="action" query=${query} placeholder="task, key.revoke, ..." maxlength="65" />
    <label class="field">Outcome
      <select value=${query.get("outcome") ?? ""} onChange=${(/** @type {any} */ event) => filterBy("outcome", event.currentTarget.value)}>
        <option value="">all</option>
        <option value="denied,failed">denied or failed</option>
        ${OUTCOMES.map((outcome) => html`<option value=${outcome}>${outcome}</option>`)}
      </select>
    </label>
    <${TextField} label="Key" name="key" query=${query} maxlength="255" />
    <${TimeField} label="From" name="from" query=${query} />
    <${TimeField} label="Before" name="to" query=${query} />
    ${isFiltered ? html`<button type="button" onClick=${() => setQuery(NO_FILTER)}>Clear filters</button>` : null}
  </form>`;
}

/** @param {{entries: Entry[]}} props */
function Entries({ entries }) {
  if (entries.length === 0) return html`<p class="panel">No entry fits. An action appears here within seconds.</p>`;
  return html`<${Table} caption="Audit entries" head=${["When", "Outcome", "Action", "Object", "Who", "Address", "Reason", "Request"].map((name) => html`<${HeadCell}>${name}<//>`)}>
    ${entries.map(
      (entry, index) => html`<tr key=${`${entry.occurred_at} ${index}`}>
        <td class="cell-short"><${Age} time=${entry.occurred_at} /></td>
        <td><${Badge} state=${entry.outcome} /></td>
        <td>${entry.action}${entry.times > 1 ? ` (${count(entry.times, "time")})` : ""}</td>
        <td class="mono">${entry.object?.startsWith("task_") ? html`<${Link} href=${`/tasks/${entry.object}`}>${entry.object}<//>` : (entry.object ?? "")}</td>
        <td class="mono">${entry.subject ?? entry.key_id ?? ""}</td>
        <td class="mono">${entry.address ?? ""}</td>
        <td class="mono">${entry.reason ?? ""}</td>
        <td class="mono">${entry.request_id ?? ""}</td>
      </tr>`,
    )}
  <//>`;
}

/** @param {URLSearchParams} query */
function apiPath(query) {
  const wanted = new URLSearchParams({ limit: "50" });
  for (const name of [...FILTERS, "cursor"]) {
    const value = query.get(name);
    if (value) wanted.set(name, value);
  }
  return `/v1/audit-log?${wanted}`;
}
