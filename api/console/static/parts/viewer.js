// Shows a value of a task: a tree, a table, a text, a diff, files. It is never read as HTML.
import { bytes, count } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor.js";
import { DiffView } from "./diff_view.js";
import { HeadCell, Table } from "./table.js";
import { TextView } from "./text_view.js";
import { brief, pointerOfQuote, shapeOf, sortedBy, tableOf, treeRows, valueAt } from "./value_shape.js";

const TREE_ROWS = 1000;
/** A tree of at most so many nodes is open as a whole at first. */
const SMALL_ROWS = 60;
const TABLE_ROWS = 200;
const MAX_TEXT = 2000;

/**
 * @typedef {import("./value_shape.js").TreeRow} TreeRow
 * @typedef {{value: any, size_bytes: number, preview: string | null, artifact_id: string | null, href: string | null}} Shown
 */

/**
 * A value as the API shows it: whole, or the beginning of a large one with a link to the whole.
 * @param {{shown: Shown | null, label: string, pointer?: string | null, quote?: string | null}} props
 */
export function ShownViewer({ shown, label, pointer, quote }) {
  if (!shown) return html`<p class="quiet">There is none.</p>`;
  if (shown.preview === null && !shown.artifact_id) {
    return html`<${Viewer} value=${shown.value} label=${label} pointer=${pointer} quote=${quote} />`;
  }
  return html`
    <p>
      ${bytes(shown.size_bytes)}; here is the beginning.
      ${shown.href ? html` <a href=${shown.href} download>Download the whole</a>` : null}
    </p>
    <${TextView} text=${shown.preview ?? ""} label=${label} quote=${quote} />
  `;
}

/**
 * A JSON value, in the form that suits it; the reader may choose another one.
 * @param {{value: unknown, label: string, pointer?: string | null, quote?: string | null}} props
 *   label: what it is, for screen readers; pointer: the place to mark; quote: the words to mark in it
 */
export function Viewer({ value, label, pointer = null, quote = null }) {
  const shape = useMemo(() => shapeOf(value), [value]);
  const [chosen, setChosen] = useState(/** @type {string | null} */ (null));
  const forms = formsOf(shape);
  const isPlace = Boolean(pointer || quote);
  const form = chosen ?? (isPlace && forms.includes("tree") ? "tree" : forms[0]);
  return html`<div class="viewer">
    ${forms.length > 1
      ? html`<div class="viewer-forms" role="group" aria-label=${`Form of ${label}`}>
          ${forms.map((name) => html`<button type="button" class="quiet" aria-pressed=${form === name} onClick=${() => setChosen(name)}>${name}</button>`)}
        </div>`
      : null}
    <${FORMS[form ?? "tree"]} value=${value} text=${form === "text" ? textOf(value) : value} label=${label} pointer=${pointer} quote=${quote} />
  </div>`;
}

/** @param {string} shape */
function formsOf(shape) {
  if (shape === "table") return ["table", "tree"];
  if (shape === "diff") return ["diff", "text"];
  if (shape === "text") return ["text"];
  return shape === "tree" ? ["tree", "text"] : ["plain"];
}

/** @param {unknown} value */
function textOf(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** @type {Record<string, (props: any) => unknown>} */
const FORMS = { table: TableView, tree: TreeView, diff: DiffView, text: TextView, plain: PlainView };

/** @param {{value: unknown, quote: string | null}} props */
function PlainView({ value, quote }) {
  return html`<p class="viewer-plain mono"><${Scalar} value=${value} quote=${quote} /></p>`;
}

/** @param {{value: unknown, label: string}} props */
function TableView({ value, label }) {
  const table = useMemo(() => tableOf(value), [value]);
  const [sort, setSort] = useState(/** @type {{column: number, direction: "ascending" | "descending"} | null} */ (null));
  const [limit, setLimit] = useState(TABLE_ROWS);
  const rows = useMemo(
    () => (table && sort ? sortedBy(table.rows, sort.column, sort.direction) : (table?.rows ?? [])),
    [table, sort],
  );
  if (!table) return null;
  const sortBy = (/** @type {number} */ column) =>
    setSort({ column, direction: sort?.column === column && sort.direction === "ascending" ? "descending" : "ascending" });
  return html`
    <${Table} caption=${label} head=${table.columns.map(
      (name, column) =>
        html`<${HeadCell} sorted=${sort?.column === column ? sort.direction : null} onSort=${() => sortBy(column)}>${brief(name, 60)}<//>`,
    )}>
      ${rows.slice(0, limit).map((row) => html`<tr>${row.map((cell) => html`<td class=${typeof cell === "number" ? "number" : null}>${brief(cell)}</td>`)}</tr>`)}
    <//>
    <${More} shown=${Math.min(limit, rows.length)} total=${table.total} noun="row" onMore=${() => setLimit(limit + TABLE_ROWS)} />
  `;
}

/** @param {{shown: number, total: number, noun: string, onMore: () => void}} props */
export function More({ shown, total, noun, onMore }) {
  if (shown >= total) return null;
  return html`<p class="row"><span>${count(shown, noun)} of ${total.toLocaleString("en-US")}</span>
    <button type="button" onClick=${onMore}>Show more</button></p>`;
}

/** @param {{value: unknown, label: string, pointer: string | null, quote: string | null}} props */
function TreeView({ value, label, pointer, quote }) {
  const place = useMemo(() => placeIn(value, pointer, quote), [value, pointer, quote]);
  const [toggled, setToggled] = useState(/** @type {ReadonlySet<string>} */ (new Set()));
  const [limit, setLimit] = useState(TREE_ROWS);
  const marked = /** @type {import("../vendor.js").RefObject<HTMLLIElement | null>} */ (useRef(null));
  const isSmall = useMemo(() => !treeRows(value, { isOpen: () => true, limit: SMALL_ROWS }).more, [value]);
  const isOpen = (/** @type {string} */ path, /** @type {number} */ depth) => {
    const isOnTheWay = place !== null && (place === path || place.startsWith(`${path}/`));
    return (isSmall || depth < 2 || isOnTheWay) !== toggled.has(path);
  };
  const { rows, more } = treeRows(value, { isOpen, limit });
  useEffect(() => marked.current?.scrollIntoView({ block: "nearest" }), [place]);
  const toggle = (/** @type {string} */ path) => {
    const next = new Set(toggled);
    if (!next.delete(path)) next.add(path);
    setToggled(next);
  };
  return html`
    <ul class="tree" aria-label=${label}>
      ${rows.map((row) => {
        const isPlace = place !== null && row.path === place;
        return html`<li key=${row.path} ref=${isPlace ? marked : null} class=${isPlace ? "marked" : null} style=${{ paddingInlineStart: `${Math.min(row.depth, 20)}rem` }}>
          <${TreeNode} row=${row} onToggle=${() => toggle(row.path)} quote=${isPlace ? quote : null} />
          <${Inside} row=${row} />
        </li>`;
      })}
    </ul>
    ${more
      ? html`<p class="row"><span>${count(rows.length, "node")} are shown</span>
          <button type="button" onClick=${() => setLimit(limit + TREE_ROWS)}>Show more</button></p>`
      : null}
  `;
}

/** @param {unknown} value @param {string | null} pointer @param {string | null} quote */
function placeIn(value, pointer, quote) {
  if (quote) {
    const inside = pointerOfQuote(pointer ? valueAt(value, pointer) : value, quote);
    if (inside !== null) return (pointer ?? "") + inside;
  }
  return pointer && valueAt(value, pointer) !== undefined ? pointer : null;
}

/** @param {{row: TreeRow, onToggle: () => void, quote: string | null}} props */
function TreeNode({ row, onToggle, quote }) {
  const name = row.key === null ? null : html`<span class="tree-key">${brief(row.key, 100)}</span>`;
  if (row.size === null) return html`${name}${name ? ": " : ""}<${Scalar} value=${row.value} quote=${quote} />`;
  const isList = Array.isArray(row.value);
  const size = html`<span class="quiet">${count(row.size, isList ? "item" : "member")}</span>`;
  if (row.size === 0) return html`${name}${name ? ": " : ""}${isList ? "[]" : "{}"}`;
  return html`<button type="button" class="tree-toggle" aria-expanded=${row.open} onClick=${onToggle}>
    <span aria-hidden="true">${row.open ? "▾" : "▸"}</span> ${name ?? (isList ? "list" : "object")} ${size}
  </button>`;
}

/**
 * A table, a patch or a long text inside of a value, in its own form when the reader asks for it.
 * @param {{row: TreeRow}} props
 */
function Inside({ row }) {
  const [isShown, setShown] = useState(false);
  const shape = useMemo(() => shapeOf(row.value), [row.value]);
  if (row.depth === 0 || !["table", "diff", "text"].includes(shape)) return null;
  const label = `${row.path} as a ${shape}`;
  return html` <button type="button" class="quiet" aria-expanded=${isShown} aria-label=${label} onClick=${() => setShown(!isShown)}>as a ${shape}</button>
    ${isShown ? html`<${FORMS[shape]} value=${row.value} text=${row.value} label=${label} pointer=${null} quote=${null} />` : null}`;
}

/** @param {{value: unknown, quote?: string | null}} props */
function Scalar({ value, quote = null }) {
  const [isWhole, setWhole] = useState(false);
  if (typeof value !== "string") return html`<span class="tree-value">${JSON.stringify(value)}</span>`;
  const at = quote ? value.indexOf(quote) : -1;
  if (quote && at >= 0) {
    const [start, end] = [Math.max(0, at - MAX_TEXT), at + quote.length];
    return html`<span class="tree-text">${start > 0 ? "…" : ""}${value.slice(start, at)}<mark>${quote}</mark>${value.slice(end, end + MAX_TEXT)}${end + MAX_TEXT < value.length ? "…" : ""}</span>`;
  }
  const isCut = value.length > MAX_TEXT && !isWhole;
  return html`<span class="tree-text">${isCut ? `${value.slice(0, MAX_TEXT)}…` : value}</span>
    ${isCut ? html` <button type="button" class="quiet" onClick=${() => setWhole(true)}>${count(value.length, "character")}: show all</button>` : null}`;
}
