// The address of the page that is shown: its path and its query, which hold all of the view's state.
import { html, signal } from "./vendor.js";

/** @typedef {{path: string, query: URLSearchParams}} Address */

/** The current address. @type {import("./vendor.js").Signal<Address>} */
export const address = signal(read());

window.addEventListener("popstate", () => {
  address.value = read();
});

/** @returns {Address} */
function read() {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

/**
 * Show another page: one more entry in the browser's history.
 * @param {string} path a path of ours, with a query if wanted
 * @param {{replaces?: boolean}} [options] replaces: instead of the current entry
 */
export function go(path, { replaces = false } = {}) {
  if (!isOwn(path)) throw new TypeError(`not an address of the console: ${path}`);
  history[replaces ? "replaceState" : "pushState"](null, "", path);
  address.value = read();
  if (!replaces) scrollTo(0, 0);
}

/**
 * Change members of the query without a new entry in the history.
 * @param {Record<string, string | number | boolean | null | undefined>} changes null, undefined, "" and false remove one
 */
export function setQuery(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "" || value === false) query.delete(name);
    else query.set(name, value === true ? "1" : String(value));
  }
  const text = query.toString();
  const next = location.pathname + (text ? `?${text}` : "");
  if (next === location.pathname + location.search) return;
  history.replaceState(null, "", next);
  address.value = read();
}

/**
 * Tell whether a text is an address on this host, such as one to come back to: never another host's or a script's.
 * @param {string} path
 */
export function isOwn(path) {
  if (!/^\/(?![/\\])/.test(path)) return false;
  try {
    return new URL(path, location.origin).origin === location.origin;
  } catch {
    return false;
  }
}

/**
 * A link to a page of the console; a click with a modifier key opens it as any other link.
 * @param {{href: string, children?: unknown, [attribute: string]: unknown}} props
 */
export function Link({ href, children, ...attributes }) {
  const onClick = (/** @type {MouseEvent} */ event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(href);
  };
  return html`<a href=${href} onClick=${onClick} ...${attributes}>${children}</a>`;
}
