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
 * @typedef {import("./critical_path.js").Leg} Leg
 *
 * @typedef {object} RowProps
 * @property {TimelineRow} row
 * @property {Chart} chart
 * @property {readonly Leg[]} legs those of the critical path
 * @property {boolean} isOpen its items are shown
 * @property {boolean} isSelected
 * @property {Map<string, import("./budget_series.js").Cost>|null} costs
 * @property {RowActions} actions
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
/** @type {readonly Leg[]} */
const NO_LEGS = [];
const MOVES = /** @type {Record<string, [number, number]>} */ ({
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
});

/**
 * @param {{rows: TimelineRow[], chart: Chart, critical: Map<string, Leg[]>, rowPixels: number, expanded: Set<string>, selected: string|null,
 *   pointed: import("../vendor.js").ReadonlySignal<RowBar|null>, costs: Map<string, import("./budget_series.js").Cost>|null,
 *   actions: RowActions}} props
 */
export function RowList({ rows, chart, critical, rowPixels, expanded, selected, pointed, costs, actions }) {
  const list = useRef(/** @type {HTMLElement|null} */ (null));
  const [seen, setSeen] = useState({ top: 0, height: 800 });
  const wanted = useRef(/** @type {string|null} */ (null));
  const isWindowed = rows.length > MOST_ROWS;
  const first = isWindowed ? Math.max(0, Math.floor(seen.top / rowPixels) - MARGIN_ROWS) : 0;
  const last = isWindowed ? Math.min(rows.length, Math.ceil((seen.top + seen.height) / rowPixels) + MARGIN_ROWS) : rows.length;
  useLayoutEffect(() => {
    const focused = wanted.current === null ? null : barOf(list.current, wanted.current);
    if (focused) {
      wanted.current = null;
      focused.focus();
    }
    letTabReach(list.current, pointed.peek()?.key ?? null);
  });
  const onScroll = () => {
    if (isWindowed && list.current) setSeen({ top: list.current.scrollTop, height: list.current.clientHeight });
  };
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const move = MOVES[event.key];
    const key = /** @type {Element} */ (event.target).closest("[data-bar]")?.getAttribute("data-bar");
    const next = move && key ? barBeside(rows, key, move) : null;
    if (!next) return;
    event.preventDefault();
    if (isWindowed && list.current) bringIntoView(list.current, next.row * rowPixels, rowPixels);
    const shown = barOf(list.current, next.bar.key);
    if (shown) shown.focus();
    else wanted.current = next.bar.key;
    onScroll();
  };
  const onFocusIn = (/** @type {FocusEvent} */ event) =>
    letTabReach(list.current, /** @type {Element} */ (event.target).getAttribute("data-bar"));
  const latest = useRef(actions);
  latest.current = actions;
  /** @type {RowActions} */
  const lasting = useMemo(() => lastingActions(latest), []);
  const draw = useDrawing();
  return html`
    <ul
      class=${`tl-rows ${isWindowed ? "windowed" : ""}`}
      aria-label=${`${count(rows.length, "row")} of the timeline`}
      ref=${list}
      onScroll=${onScroll}
      onKeyDown=${onKeyDown}
      onFocusIn=${onFocusIn}
      onPointerLeave=${() => actions.onPoint(null)}
    >
      ${first > 0 ? html`<li class="tl-space" aria-hidden="true" style=${{ height: `${first * rowPixels}px` }}></li>` : null}
      ${rows.slice(first, last).map((row) =>
        draw({
          ...{ row, chart, costs, actions: lasting, legs: critical.get(row.name) ?? NO_LEGS },
          ...{ isOpen: expanded.has(row.name), isSelected: selected === row.name },
        }),
      )}
      ${last < rows.length
        ? html`<li class="tl-space" aria-hidden="true" style=${{ height: `${(rows.length - last) * rowPixels}px` }}></li>`
        : null}
    </ul>
  `;
}

/**
 * Return a function that draws a row; if its properties are those of the last time, it answers the same node, and nothing
 * is compared or drawn.
 * @returns {(props: RowProps) => unknown}
 */
function useDrawing() {
  const known = useRef(/** @type {Map<string, {props: RowProps, node: unknown}>} */ (new Map()));
  return (props) => {
    const key = `${props.row.kind}/${props.row.name}`;
    const old = known.current.get(key);
    if (old && isSameProps(old.props, props)) return old.node;
    const node = html`<${Row} key=${key} ...${props} />`;
    known.current.set(key, { props, node });
    return node;
  };
}

/**
 * @param {RowProps} one
 * @param {RowProps} other
 * @returns {boolean}
 */
function isSameProps(one, other) {
  const isSame = one.row === other.row && one.chart === other.chart && one.costs === other.costs;
  if (!isSame || one.isOpen !== other.isOpen || one.isSelected !== other.isSelected) return false;
  return one.legs.length === other.legs.length && one.legs.every((leg, index) => isSameLeg(leg, other.legs[index]));
}

/**
 * @param {Leg} one
 * @param {Leg|undefined} other
 * @returns {boolean}
 */
function isSameLeg(one, other) {
  return one.from === other?.from && one.to === other.to && one.isOpen === other.isOpen;
}

/**
 * @param {{current: RowActions}} latest
 * @returns {RowActions} the same ones each time, which do what the latest ones do
 */
function lastingActions(latest) {
  return {
    onChoose: (bar) => latest.current.onChoose(bar),
    onPoint: (bar) => latest.current.onPoint(bar),
    onName: (name) => latest.current.onName(name),
    onExpand: (name) => latest.current.onExpand(name),
  };
}

/** @param {RowProps} props */
function Row({ row, chart, legs, isOpen, isSelected, costs, actions }) {
  const isLoop = row.items.length > 0;
  const levels = useMemo(() => (isLoop ? densityOf(row.items, chart.scale.to) : []), [row, chart.scale]);
  return html`
    <li class=${`tl-row ${row.kind} ${isSelected ? "selected" : ""} ${row.hasFailed ? "failed" : ""}`}>
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
 * @param {HTMLElement|null} list
 * @param {string} key
 * @returns {SVGElement|null} null: its row is not drawn
 */
function barOf(list, key) {
  return list?.querySelector(`[data-bar="${CSS.escape(key)}"]`) ?? null;
}

/**
 * Let Tab reach one bar of all: this one, or the first. A change of it draws nothing again.
 * @param {HTMLElement|null} list
 * @param {string|null} key
 */
function letTabReach(list, key) {
  const bar = (key !== null && barOf(list, key)) || list?.querySelector("[data-bar]");
  for (const other of list?.querySelectorAll('[data-bar][tabindex="0"]') ?? []) other.setAttribute("tabindex", "-1");
  bar?.setAttribute("tabindex", "0");
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
