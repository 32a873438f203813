// The filter bar of the list of tasks. Each field changes the address, which the list follows.
import { setQuery } from "../address.js";
import { lookOf } from "../parts/badge.js";
import { filterBy, TextField, TimeField } from "../parts/filter_fields.js";
import { html } from "../vendor.js";
import { isFiltered, NO_FILTER, SORTS, STATUSES, statusesIn, toggled } from "./query.js";

/** @typedef {Record<string, {count: number, more: boolean}> | null} Counts */

/**
 * @param {{query: URLSearchParams, counts: Counts, search: import("../vendor.js").RefObject<HTMLInputElement | null>}} props
 *   counts: of the tasks of each status that the other filters leave; search: gets the field for the goal
 */
export function Filters({ query, counts, search }) {
  return html`
    <form class="task-filters" role="search" aria-label="Tasks" onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <div class="row">
        <${TextField} label="Goal" name="goal" query=${query} type="search" input=${search} placeholder="Search ( / )" maxlength="200" />
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
          <${TextField} label="Arm" name="arm" query=${query} maxlength="100" />
          <${TextField} label="Recipe" name="recipe" query=${query} maxlength="200" />
          <${TimeField} label="Submitted from" name="from" query=${query} />
          <${TimeField} label="Submitted before" name="to" query=${query} />
          <${TextField} label="Ran for (s) or more" name="min_duration" query=${query} type="number" min="0" step="any" />
          <${TextField} label="Cost ($) or more" name="min_cost" query=${query} type="number" min="0" step="any" />
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

/** @param {string} sort */
function chosenSort(sort) {
  return sort === "newest" ? null : sort;
}

/** @param {URLSearchParams} query */
function hasMore(query) {
  return ["arm", "recipe", "from", "to", "min_duration", "min_cost"].some((name) => query.get(name));
}
