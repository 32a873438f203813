// Fields of a filter bar: each changes a member of the address's query, and shows the first page.
import { setQuery } from "../address.js";
import { html, useEffect, useRef } from "../vendor.js";

const PAUSE_MS = 300;

/**
 * Change a member of the query and show the first page.
 * @param {string} name
 * @param {string | null} value
 */
export function filterBy(name, value) {
  setQuery({ [name]: value, cursor: null });
}

/**
 * A field whose text becomes a member of the query after a pause in the typing.
 * @param {{label: string, name: string, query: URLSearchParams, [attribute: string]: any}} props `input`: a ref that
 *   gets the field
 */
export function TextField({ label, name, query, input, ...attributes }) {
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
export function TimeField({ label, name, query }) {
  return html`<label class="field">${label}
    <input
      type="datetime-local"
      value=${localTime(query.get(name))}
      onChange=${(/** @type {any} */ event) => filterBy(name, isoTime(event.currentTarget.value))}
    />
  </label>`;
}

/**
 * Return a time as a field of the type datetime-local takes it, in the reader's zone; "" for none.
 * @param {string | null} iso
 */
export function localTime(iso) {
  const at = new Date(iso ?? NaN);
  if (Number.isNaN(at.getTime())) return "";
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 16);
}

/**
 * Return the time in a field of the type datetime-local for the address; null for none.
 * @param {string} text
 */
export function isoTime(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? null : at.toISOString().replace(".000Z", "Z");
}
