// What the list of tasks shows: its filters, its order and its page, in the address, in a call of the API and as an
// octollm line.
import { octollmOf } from "../parts/shell_line.js";

export const PAGE_SIZE = 50;
export const STATUSES = ["queued", "processing", "completed", "failed", "cancelled"];
export const SORTS = ["newest", "oldest", "longest", "dearest", "updated"];
const FILTERS = ["status", "goal", "arm", "recipe", "from", "to", "min_duration", "min_cost"];
const MEMBERS = [...FILTERS, "sort", "cursor"];
/** @type {Record<string, string>} */
const OPTIONS = { min_duration: "--min-duration", min_cost: "--min-cost" };

/**
 * Return the path of the API's call for an address.
 * @param {URLSearchParams} query
 */
export function apiPath(query) {
  const wanted = new URLSearchParams({ limit: String(PAGE_SIZE), counts: "true" });
  for (const [name, value] of given(query, MEMBERS)) wanted.set(name, value);
  return `/v1/tasks?${wanted}`;
}

/**
 * Return the octollm line that lists the same tasks.
 * @param {URLSearchParams} query
 */
export function commandLine(query) {
  const options = given(query, [...FILTERS, "sort"]).flatMap(([name, value]) => [OPTIONS[name] ?? `--${name}`, value]);
  return octollmOf("list", ...options);
}

/**
 * Tell whether an address leaves tasks out.
 * @param {URLSearchParams} query
 */
export function isFiltered(query) {
  return given(query, FILTERS).length > 0;
}

/** Changes of the query that remove all filters and show the first page. */
export const NO_FILTER = Object.fromEntries([...FILTERS, "cursor"].map((name) => [name, null]));

/**
 * Return the statuses in an address.
 * @param {URLSearchParams} query
 */
export function statusesIn(query) {
  const named = (query.get("status") ?? "").split(",");
  return STATUSES.filter((status) => named.includes(status));
}

/**
 * Return the text for the address with a status added, or removed if it is there; null for all.
 * @param {URLSearchParams} query
 * @param {string} status
 */
export function toggled(query, status) {
  const chosen = statusesIn(query);
  const next = STATUSES.filter((one) => chosen.includes(one) !== (one === status));
  return next.length === STATUSES.length ? null : next.join(",") || null;
}

/** @param {URLSearchParams} query @param {string[]} names @returns {[string, string][]} */
function given(query, names) {
  return names.flatMap((name) => {
    const value = query.get(name);
    return value ? [/** @type {[string, string]} */ ([name, value])] : [];
  });
}
