// The filter bar of the list of tasks. Each field changes the address, which the list follows.
import { setQuery } from "../address.js";
import { lookOf } from "../parts/badge.js";
import { html, useEffect, useRef } from "../vendor.js";
import { isFiltered, isoTime, localTime, NO_FILTER, SORTS, STATUSES, statusesIn, toggled } from "./query.js";

const PAUSE_MS = 300;

/** @typedef {Record<string, {count: number, more: boolean}> | null} Counts */

/**
 * @param {{query: URLSearchParams, counts: Counts, search: import("../vendor.js").RefObject<HTMLInputElement | null>}} props
 *   counts: of the tasks of each status that the other filters leave; search: gets the field for the goal
 */
export function Filters({ query, counts, search }) {
  return html`
    <form class="task-filters" role="search" aria-label="Tasks" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <div class="row">
        <${Field} label="Goal" name="goal" query=${query} type="search" input=${search} placeholder="Search ( / )" maxlength="200" />
        <label class="field">Sort
          <select value=${query.get("sort") ?? "newest"} onChange=${(/** @type {any} */ event) => filterBy("sort", chosenSort(event.currentTarget.value))}>
            ${SORTS.map((sort) => html`<option value=${sort}>${sort}</option>`)}
          </select>
        </label>
        ${isFiltered(query)
          ? html`<button type="button" onClick=${() => setQuery(NO_FILTER)}>Clear filters</button>`
          : null}
      </div>
      <${Chips} query=${query} counts=${counts} />
      <details class="more-filters" open=${hasMore(query)}>
        <summary>More filters</summary>
        <div class="row">
          <${Field} label="Arm" name="arm" query=${query} maxlength="100" />
          <${Field} label="Recipe" name="recipe" query=${query} maxlength="200" />
          <${TimeField} label="Submitted from" name="from" query=${query} />
          <${TimeField} label="Submitted before" name="to" query=${query} />
          <${Field} label="Ran for (s) or more" name="min_duration" query=${query} type="number" min="0" step="any" />
          <${Field} label="Cost ($) or more" name="min_cost" query=${query} type="number" min="0" step="any" />
        </div>
      </details>
    </form>
  `;
}

/** @param {{query: URLSearchParams, counts: Counts}} props */
function Chips({ query, counts }) {
  const chosen = statusesIn(query);
  return html`<div class="chips" role="group" aria-label="Status">
    <button type="button" class="chip" aria-pressed=${chosen.length === 0} onClick=${() => filterBy("status", null)}>all</button>
    ${STATUSES.map((status) => {
      const [tone, glyph] = lookOf(status);
      const found = counts?.[status];
      return html`<button
        type="button"
        class=${`chip ${tone}`}
        aria-pressed=${chosen.includes(status)}
        onClick=${() => filterBy("status", toggled(query, status))}
      >
        <span aria-hidden="true">${glyph}</span>${status}
        ${found ? html`<span class="chip-count">${found.count.toLocaleString("en-US")}${found.more ? "+" : ""}</span>` : null}
      </button>`;
    })}
  </div>`;
}

/**
 * A field whose text becomes a member of the query after a pause in the typing.
 * @param {{label: string, name: string, query: URLSearchParams, [attribute: string]: any}} props
 */
function Field({ label, name, query, input, ...attributes }) {
  const own = useRef(/** @type {HTMLInputElement | null} */ (null));
  const element = input ?? own;
  const timer = useRef(/** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined));
  const value = query.get(name) ?? "";
  useEffect(() => {
    // another place changed the address; what is being typed here stays
    if (document.activeElement !== element.current && element.current) element.current.value = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const onInput = (/** @type {any} */ event) => {
    const text = event.currentTarget.value.trim();
    clearTimeout(timer.current);
    timer.current = setTimeout(() => filterBy(name, text), PAUSE_MS);
  };
  return html`<label class="field">${label}
    <input type="text" ...${attributes} ref=${element} defaultValue=${value} onInput=${onInput} />
  </label>`;
}

/** @param {{label: string, name: string, query: URLSearchParams}} props */
function TimeField({ label, name, query }) {
  return html`<label class="field">${label}
    <input
      type="datetime-local"
      value=${localTime(query.get(name))}
      onChange=${(/** @type {any} */ event) => filterBy(name, isoTime(event.currentTarget.value))}
    />
  </label>`;
}

/** @param {string} sort */
function chosenSort(sort) {
  return sort === "newest" ? null : sort;
}

/**
 * Change a member of the query and show the first page.
 * @param {string} name
 * @param {string | null} value
 */
export function filterBy(name, value) {
  setQuery({ [name]: value, cursor: null });
}

/** @param {URLSearchParams} query */
function hasMore(query) {
  return ["arm", "recipe", "from", "to", "min_duration", "min_cost"].some((name) => query.get(name));
}
