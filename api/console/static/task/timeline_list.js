/** The rows of the timeline: their names, their bars, and the keys that go from bar to bar. */

import { count, money } from "../format.js";
import { html, useLayoutEffect, useMemo, useRef, useState } from "../vendor.js";
import { titleOf } from "./bar_text.js";
import { Bar, CriticalLine, Density, ROW_PIXELS } from "./timeline_bar.js";
import { densityOf } from "./timeline_rows.js";

/**
 * @typedef {import("./timeline_rows.js").TimelineRow} TimelineRow
 * @typedef {import("./timeline_rows.js").RowBar} RowBar
 * @typedef {import("./timeline_bar.js").Chart} Chart
 *
 * @typedef {object} RowActions
 * @property {(bar: RowBar) => void} onChoose
 * @property {(bar: RowBar|null) => void} onPoint the pointer or the focus is at a bar
 * @property {(name: string) => void} onName
 * @property {(name: string) => void} onExpand shows or hides the items of a step
 */

/** More rows than this are drawn only where they are seen. */
const MOST_ROWS = 200;
const MARGIN_ROWS = 10;
const MOVES = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
});

/**
 * @param {{rows: TimelineRow[], chart: Chart, rowPixels: number, expanded: Set<string>, selected: string|null,
 *   costs: Map<string, import("./budget_series.js").Cost>|null, actions: RowActions}} props
 */
export function RowList({ rows, chart, rowPixels, expanded, selected, costs, actions }) {
  const list = useRef(/** @type {HTMLElement|null} */ (null));
  const [seen, setSeen] = useState({ top: 0, height: 800 });
  const wanted = useRef(/** @type {string|null} */ (null));
  const isWindowed = rows.length > MOST_ROWS;
  const first = isWindowed ? Math.max(0, Math.floor(seen.top / rowPixels) - MARGIN_ROWS) : 0;
  const last = isWindowed ? Math.min(rows.length, Math.ceil((seen.top + seen.height) / rowPixels) + MARGIN_ROWS) : rows.length;
  useLayoutEffect(() => {
    if (wanted.current === null) return;
    const found = list.current?.querySelector(`[data-bar="${CSS.escape(wanted.current)}"]`);
    if (!found) return;
    wanted.current = null;
    /** @type {SVGElement} */ (found).focus();
  });
  const onScroll = () => {
    if (isWindowed && list.current) setSeen({ top: list.current.scrollTop, height: list.current.clientHeight });
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const next = MOVES[event.key] ? barBeside(rows, chart.current, MOVES[event.key] ?? [0, 0]) : null;
    if (!next || !(/** @type {Element} */ (event.target).closest("[data-bar]"))) return;
    event.preventDefault();
    wanted.current = next.bar.key;
    if (isWindowed && list.current) bringIntoView(list.current, next.row * rowPixels, rowPixels);
    onScroll();
    actions.onPoint(next.bar);
  };
  const shared = { chart, expanded, selected, costs, actions };
  return html`
    <ul
      class=${`tl-rows ${isWindowed ? "windowed" : ""}`}
      aria-label=${`${count(rows.length, "row")} of the timeline`}
      ref=${list}
      onScroll=${onScroll}
      onKeyDown=${onKeyDown}
      onPointerLeave=${() => actions.onPoint(null)}
    >
      ${first > 0 ? html`<li class="tl-space" aria-hidden="true" style=${{ height: `${first * rowPixels}px` }}></li>` : null}
      ${rows.slice(first, last).map((row) => html`<${Row} key=${`${row.kind}/${row.name}`} row=${row} ...${shared} />`)}
      ${last < rows.length
        ? html`<li class="tl-space" aria-hidden="true" style=${{ height: `${(rows.length - last) * rowPixels}px` }}></li>`
        : null}
    </ul>
  `;
}

/**
 * @param {{row: TimelineRow, chart: Chart, expanded: Set<string>, selected: string|null,
 *   costs: Map<string, import("./budget_series.js").Cost>|null, actions: RowActions}} props
 */
function Row({ row, chart, expanded, selected, costs, actions }) {
  const isLoop = row.items.length > 0;
  const levels = useMemo(() => (isLoop ? densityOf(row.items, chart.scale.to) : []), [row, chart.scale]);
  const isOpen = expanded.has(row.name);
  const legs = chart.critical.get(row.name) ?? [];
  return html`
    <li class=${`tl-row ${row.kind} ${selected === row.name ? "selected" : ""} ${row.hasFailed ? "failed" : ""}`}>
      <span class="tl-label">
        ${isLoop
          ? html`<button
              class="tl-expand"
              aria-expanded=${isOpen}
              aria-label=${`items of ${row.name}`}
              title=${count(row.items.length, "item")}
              onClick=${() => actions.onExpand(row.name)}
            >${isOpen ? "▾" : "▸"}</button>`
          : null}
        <button class="tl-name" title=${row.arm ? `${row.name}, arm ${row.arm}` : row.name} onClick=${() => actions.onName(row.name)}>
          ${titleOf(row.name)}
        </button>
        <${RowNote} row=${row} costs=${costs} />
      </span>
      <svg class="tl-picture" width=${chart.scale.width} height=${ROW_PIXELS} role="group" aria-label=${`attempts of ${titleOf(row.name)}`}>
        ${isLoop ? html`<${Density} levels=${levels} chart=${chart} />` : null}
        <${CriticalLine} legs=${legs} chart=${chart} />
        ${row.bars.map((bar) => html`<${Bar} key=${bar.key} bar=${bar} chart=${chart} onChoose=${actions.onChoose} onPoint=${actions.onPoint} />`)}
      </svg>
    </li>
  `;
}

/**
 * What a row tells beside its name: its cost, how many items it has, or how many attempts.
 * @param {{row: TimelineRow, costs: Map<string, import("./budget_series.js").Cost>|null}} props
 */
function RowNote({ row, costs }) {
  if (costs) {
    const known = [...row.bars, ...row.items.flatMap((item) => item.bars)].flatMap((bar) => costs.get(bar.key) ?? []);
    if (known.length === 0) return null;
    const dollars = known.some((cost) => cost.dollars === null) ? null : known.reduce((sum, cost) => sum + Number(cost.dollars), 0);
    return html`<span class="tl-note">${money(dollars)}</span>`;
  }
  if (row.items.length > 0) return html`<span class="tl-note">${count(row.items.length, "item")}</span>`;
  return row.bars.length > 1 ? html`<span class="tl-note" title=${count(row.bars.length, "attempt")}>×${row.bars.length}</span>` : null;
}

/**
 * Return the bar beside another: in its row, or the nearest in time of the next row that has one.
 * @param {readonly TimelineRow[]} rows
 * @param {string|null} key
 * @param {[number, number]} move rows and bars
 * @returns {{bar: RowBar, row: number}|null}
 */
export function barBeside(rows, key, [down, right]) {
  const row = rows.findIndex((candidate) => candidate.bars.some((bar) => bar.key === key));
  const bars = rows[row]?.bars ?? [];
  const index = bars.findIndex((bar) => bar.key === key);
  const from = bars[index];
  if (!from) return null;
  if (right !== 0) {
    const bar = bars[index + right];
    return bar ? { bar, row } : null;
  }
  for (let next = row + down; next >= 0 && next < rows.length; next += down) {
    const nearest = nearestBar(rows[next]?.bars ?? [], from.from);
    if (nearest) return { bar: nearest, row: next };
  }
  return null;
}

/**
 * @param {readonly RowBar[]} bars
 * @param {number} at
 * @returns {RowBar|undefined}
 */
function nearestBar(bars, at) {
  const distance = (/** @type {RowBar} */ bar) => Math.abs(bar.from - at);
  return [...bars].sort((one, other) => distance(one) - distance(other))[0];
}

/**
 * @param {HTMLElement} list
 * @param {number} top
 * @param {number} height
 */
function bringIntoView(list, top, height) {
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
}
