// The buttons to the next and the previous page of a list. The page's cursor is in the address.
import { setQuery } from "../address.js";
import { html, useRef } from "../vendor.js";

/**
 * @param {{query: URLSearchParams, next: string | null}} props next: the cursor of the next page; null on the last one.
 *   The pages before are known as long as this is shown; after a reload the way back is to the first page.
 */
export function Pages({ query, next }) {
  const trail = useRef(/** @type {(string | null)[]} */ ([]));
  const cursor = query.get("cursor");
  if (!cursor) trail.current = [];
  const show = (/** @type {string | null} */ wanted) => {
    setQuery({ cursor: wanted });
    scrollTo(0, 0);
  };
  const onNext = () => {
    trail.current.push(cursor);
    show(next);
  };
  if (!cursor && !next) return null;
  return html`<nav class="row pages" aria-label="Pages">
    <button type="button" disabled=${!cursor} onClick=${() => show(trail.current.pop() ?? null)}>
      ${cursor && !trail.current.length ? "First page" : "Previous"}
    </button>
    <button type="button" disabled=${!next} onClick=${onNext}>Next</button>
  </nav>`;
}
