// A table whose columns can sort it.
import { html } from "../vendor.js";

/**
 * A cell of a table's head. With onSort it has a button; `sorted` is how the table is sorted by it now.
 * @param {{children?: unknown, sorted?: "ascending" | "descending" | null, onSort?: () => void, isNumber?: boolean}} props
 */
export function HeadCell({ children, sorted = null, onSort, isNumber = false }) {
  const glyph = sorted === "ascending" ? "▲" : sorted === "descending" ? "▼" : "";
  return html`<th scope="col" class=${isNumber ? "number" : null} aria-sort=${sorted}>
    ${onSort
      ? html`<button type="button" onClick=${onSort}>${children} <span aria-hidden="true">${glyph}</span></button>`
      : children}
  </th>`;
}

/**
 * A table that scrolls sideways by itself on a narrow screen; the keyboard can scroll it too.
 * @param {{caption: string, head: unknown, children?: unknown}} props head: HeadCells; children: rows
 */
export function Table({ caption, head, children }) {
  return html`<div class="table-scroll" role="region" aria-label=${caption} tabindex="0">
    <table>
      <caption class="visually-hidden">${caption}</caption>
      <thead><tr>${head}</tr></thead>
      <tbody>${children}</tbody>
    </table>
  </div>`;
}
