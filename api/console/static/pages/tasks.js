// The list of tasks: filters, sort, counts and pages in the address; rows that keep their places while the list changes.
import { Link, setQuery } from "../address.js";
import { poll } from "../api_client.js";
import { clock, count } from "../format.js";
import { CommandLines, curlOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { Pages } from "../parts/pages.js";
import { arrive } from "../tasks/arrivals.js";
import { Filters } from "../tasks/filters.js";
import { apiPath, commandLine, isFiltered, NO_FILTER } from "../tasks/query.js";
import { Rows } from "../tasks/rows.js";
import { html, useEffect, useRef, useState } from "../vendor.js";

/** @typedef {{tasks: import("../tasks/arrivals.js").Task[], counts: import("../tasks/filters.js").Counts,
 *   seen: {tasks: number, back_to: string} | null, next_cursor: string | null}} Page */

/** @param {{query: URLSearchParams}} props */
export default function Tasks({ query }) {
  const path = apiPath(query);
  const list = useList(path);
  const search = useRef(/** @type {HTMLInputElement | null} */ (null));
  useSlashKey(search);
  const sort = query.get("sort") ?? "newest";
  const { shown, page } = list;
  return html`
    <div class="row tasks-head"><h1>Tasks</h1>
      <${CommandLines} curl=${curlOf("GET", path)} cli=${commandLine(query)} />
    </div>
    <${Filters} query=${query} counts=${page?.counts ?? null} search=${search} />
    <${Notice} error=${list.failure} />
    <${Arrivals} shown=${shown} onLoad=${list.load} />
    ${page && shown.tasks.length === 0
      ? html`<${Empty} query=${query} page=${page} />`
      : html`<${Rows} tasks=${shown.tasks} gone=${shown.gone} sort=${sort} isBusy=${list.isBusy} />`}
    ${page ? html`<${Seen} page=${page} sort=${sort} />` : html`<p class="quiet">Reading the list.</p>`}
    ${page ? html`<${Pages} query=${query} next=${page.next_cursor} />` : null}
  `;
}

/**
 * The list at a path of the API, read again every two seconds.
 * @param {string} path
 */
function useList(path) {
  const nothing = { tasks: [], fresh: 0, gone: [], isMoved: false };
  const [page, setPage] = useState(/** @type {Page | null} */ (null));
  const [shown, setShown] = useState(/** @type {import("../tasks/arrivals.js").Shown} */ (nothing));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const [shownPath, setShownPath] = useState("");
  useEffect(() => {
    let isFirst = true;
    setFailure(null);
    return poll(path, {
      onData: (data) => {
        const restarts = isFirst;
        isFirst = false;
        setPage(data);
        setShown((earlier) => arrive(restarts ? [] : earlier.tasks, data.tasks));
        setShownPath(path);
        setFailure(null);
      },
      onError: setFailure,
    });
  }, [path]);
  const load = () => setShown(arrive([], page?.tasks ?? []));
  return { page, shown, failure, load, isBusy: shownPath !== path };
}

/**
 * The key "/" goes to the search field, unless a text is being typed.
 * @param {import("../vendor.js").RefObject<HTMLInputElement | null>} search
 */
function useSlashKey(search) {
  useEffect(() => {
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (target.closest("input, select, textarea, dialog")) return;
      event.preventDefault();
      search.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

/** @param {{shown: import("../tasks/arrivals.js").Shown, onLoad: () => void}} props */
function Arrivals({ shown, onLoad }) {
  const changed = shown.fresh || shown.gone.length || shown.isMoved;
  const text = shown.fresh ? `${shown.fresh} new` : "The list changed";
  return html`<p class="arrivals" role="status">
    ${changed ? html`<button type="button" onClick=${onLoad}>${text}: show</button>` : null}
  </p>`;
}

/** @param {{query: URLSearchParams, page: Page}} props */
function Empty({ query, page }) {
  if (query.get("cursor") || (isFiltered(query) && page.next_cursor)) return html`<p class="panel">No task on this page fits.</p>`;
  if (isFiltered(query)) {
    return html`<div class="panel stack">
      <p>No task fits these filters.</p>
      <button type="button" onClick=${() => setQuery(NO_FILTER)}>Show all tasks</button>
    </div>`;
  }
  return html`<div class="panel stack">
    <p>No task was submitted yet. <${Link} href="/new">Submit one<//>, or use the command or the API:</p>
    <${CommandLines} open cli="octollm run 'Say hello'" curl=${curlOf("POST", "/v1/tasks", { goal: "Say hello" })} />
  </div>`;
}

/** @param {{page: Page, sort: string}} props */
function Seen({ page, sort }) {
  if (!page.seen) return null;
  const { tasks, back_to: backTo } = page.seen;
  if (sort === "newest" || sort === "oldest") {
    return html`<${Notice}>
      The server looked at ${count(tasks, "task")} for this page, up to the one of ${clock(backTo)}. The next page goes
      on behind it.
    <//>`;
  }
  return html`<${Notice}>
    <p>Only the newest ${count(tasks, "task")} are sorted, back to ${clock(backTo)}.</p>
    <button type="button" onClick=${() => setQuery({ to: backTo, cursor: null })}>Sort those before</button>
  <//>`;
}
