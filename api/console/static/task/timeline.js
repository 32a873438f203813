/** The timeline of a task: when each row waited and ran, what determined the end, and what the models cost by time. */

import { address, setQuery } from "../address.js";
import { clock } from "../format.js";
import { html, useComputed, useEffect, useLayoutEffect, useMemo, useRef, useSignal, useState } from "../vendor.js";
import { barDetails, barLabel } from "./bar_text.js";
import { BudgetLane, useBudget } from "./budget_lane.js";
import { comparedBy, costsOf } from "./budget_series.js";
import { criticalPath, pathInWords } from "./critical_path.js";
import { isSameScale, timeScale } from "./time_scale.js";
import { Axis, Backdrop, useRange } from "./timeline_axis.js";
import { Patterns } from "./timeline_bar.js";
import { RowList } from "./timeline_list.js";
import { allBars, filtered, reused, rowsOf, within } from "./timeline_rows.js";
import { choiceOf, Legend, Toolbar } from "./timeline_toolbar.js";

/**
 * @typedef {import("./reduce.js").State} State
 * @typedef {import("./timeline_rows.js").RowBar} RowBar
 * @typedef {import("./timeline_rows.js").TimelineRow} TimelineRow
 * @typedef {import("./timeline_toolbar.js").Choice} Choice
 */

const WIDE_ROW = 24;
const NARROW_ROW = 46;
/** Below this width of the whole timeline, names stand above the bars. */
const NARROW_PIXELS = 640;
const LABEL_PIXELS = 184;
/** An axis of an open task ends this much later than now, so that it is laid out again only from time to time. */
const HEADROOM = 1.4;
const LEAST_AXIS_MS = 1000;
const COST_LEVELS = 5;

/**
 * @param {{state: State, latest?: State, id: string, selected: string|null, onSelect: (step: string|null) => void}} props
 *   state: after the events up to the scrubber; latest: after all events, by default the same
 */
export function Timeline({ state, latest = state, id, selected, onSelect }) {
  if (latest.seq === 0) return html`<p class="quiet">Nothing has happened yet.</p>`;
  return html`<${Chart} state=${state} latest=${latest} id=${id} selected=${selected} onSelect=${onSelect} />`;
}

/** @param {{state: State, latest: State, id: string, selected: string|null, onSelect: (step: string|null) => void}} props */
function Chart({ state, latest, id, selected, onSelect }) {
  const choice = choiceOf(address.value.query);
  const isOpen = latest.endedAt === null;
  const now = useTime(latest);
  const origin = latest.startedAt ?? latest.lastEventAt ?? 0;
  const horizon = useComputed(() => horizonOf(origin, now.value)).value;
  const budget = useBudget(id, { isOpen, seq: latest.seq });
  const frame = useRef(/** @type {HTMLElement|null} */ (null));
  const width = useWidth(frame);
  const all = useMemo(() => rowsOf(latest), [latest]);
  const chosen = useMemo(() => shownRows(all, choice), [all, address.value]);
  const range = rangeOf({ rows: chosen, choice, origin, end: latest.endedAt ?? horizon });
  const rows = useKept(useMemo(() => within(chosen, range), [chosen, range.from, range.to]), reused);
  const marks = marksOf(latest).filter((mark) => mark.at >= range.from && mark.at <= range.to);
  const measured = useMemo(
    () => timeScale(spansOf(rows, range.to), { ...range, width: width.picture }),
    [rows, range.from, range.to, width.picture],
  );
  const scale = useKept(measured, (before, after) => (isSameScale(before, after) ? before : after));
  const costs = useMemo(() => costsOf(budget?.entries ?? []), [budget]);
  const path = useMemo(() => criticalPath(latest, horizon), [latest, horizon]);
  const pointed = useSignal(/** @type {RowBar|null} */ (null));
  const moment = state.seq < latest.seq ? (state.lastEventAt ?? origin) : null;
  const chart = useMemo(
    () => ({
      ...{ scale, now, moment },
      chosen: chosenKey(choice, selected),
      colour: choice.isByCost ? colourBy(costs) : null,
    }),
    [scale, moment, costs, address.value, selected],
  );
  const zoom = (/** @type {{from: number, to: number}|null} */ wanted) => setQuery({ zoom: zoomText(wanted, origin) });
  const { range: dragged, handlers } = useRange(scale, zoom);
  // the drawer has a round and an attempt in the address too: they filter the rows only if they did before
  const isAll = !choice.isFiltered || (choice.round === null && choice.attempt === null);
  const open = (/** @type {string} */ step, /** @type {Record<string, string|number>} */ place = {}) => {
    if (step === "finishing") return;
    if (isAll) setQuery({ ...place, span: "all" });
    onSelect(step.endsWith("[]") ? step.slice(0, -2) : step);
  };
  const actions = {
    onChoose: (/** @type {RowBar} */ bar) => open(bar.step, { round: bar.round, attempt: bar.attempt }),
    onPoint: (/** @type {RowBar|null} */ bar) => {
      pointed.value = bar ?? pointed.value;
    },
    onName: (/** @type {string} */ name) => open(name),
    onExpand: (/** @type {string} */ name) => setQuery({ open: toggled(choice.expanded, name) }),
  };
  return html`
    <section class=${`timeline ${width.isNarrow ? "narrow" : ""}`} aria-label="Timeline" ref=${frame}>
      <${Patterns} />
      <${PathText} latest=${latest} now=${now} onSelect=${open} />
      <${Toolbar}
        choice=${choice}
        rounds=${roundsOf(latest)}
        attempts=${Math.max(1, ...allBars(all).map((bar) => bar.attempt))}
        onChange=${setQuery}
        onZoom=${(/** @type {number|null} */ factor) => zoom(factor === null ? null : zoomed(range, factor, { origin, end: horizon }))}
        onMove=${(/** @type {number} */ share) => zoom(moved(range, share))}
      />
      <${Legend} isByCost=${choice.isByCost} unit=${comparedBy(costs.values())} />
      <${Details} pointed=${pointed} now=${now} costs=${costs} />
      <div class="tl-frame" ...${handlers}>
        <div class="tl-head"><span class="tl-label quiet" title=${clock(origin)}>time since submission</span><${Axis} scale=${scale} origin=${origin} marks=${marks} /></div>
        <div class="tl-body">
          <${Backdrop} scale=${scale} origin=${origin} moment=${moment} marks=${marks} range=${dragged} />
          ${rows.length > 0
            ? html`<${RowList} rows=${rows} chart=${chart} critical=${legsByRow(path.legs, choice.expanded)} rowPixels=${width.isNarrow ? NARROW_ROW : WIDE_ROW} expanded=${choice.expanded}
                selected=${selected} pointed=${pointed} costs=${choice.isByCost ? costs : null} actions=${actions} />`
            : html`<p class="quiet">No row fits the choice: show all rounds and attempts, and what is done.</p>`}
        </div>
        <${BudgetLane} budget=${budget} scale=${scale} moment=${moment} now=${now} />
      </div>
    </section>
  `;
}

/**
 * The critical path in words. That of an open task grows with the time.
 * @param {{latest: State, now: import("../vendor.js").ReadonlySignal<number>, onSelect: (step: string) => void}} props
 */
function PathText({ latest, now, onSelect }) {
  const at = latest.endedAt ?? now.value;
  const { lead, sentences, rest } = useMemo(() => pathInWords(criticalPath(latest, at)), [latest, at]);
  if (sentences.length === 0) return null;
  return html`
    <p class="tl-path">
      ${lead}
      ${sentences.map(
        (one, index) => html`${" "}<button class="tl-link" onClick=${() => onSelect(one.step)}>${one.text}</button>${index < sentences.length - 1 ? ";" : ""}`,
      )}${rest ? ` (and ${rest})` : ""}.
    </p>
  `;
}

/**
 * The bar at which the pointer or the focus is, with its exact times.
 * @param {{pointed: import("../vendor.js").ReadonlySignal<RowBar|null>, now: import("../vendor.js").ReadonlySignal<number>,
 *   costs: Map<string, import("./budget_series.js").Cost>}} props
 */
function Details({ pointed, now, costs }) {
  const bar = pointed.value;
  if (!bar) return html`<div class="tl-details quiet">Point at a bar, or go to one with Tab and the arrow keys, for its exact times.</div>`;
  const at = bar.to === null ? now.value : now.peek();
  return html`
    <div class="tl-details">
      <strong>${barLabel(bar, at).split(":")[0]}</strong>
      <ul>${barDetails(bar, { now: at, cost: costs.get(bar.key) }).map((line) => html`<li>${line}</li>`)}</ul>
    </div>
  `;
}

/**
 * Return the time now, once a second while a task is open and the tab is visible; never before its last event.
 * @param {State} latest
 * @returns {import("../vendor.js").Signal<number>}
 */
function useTime(latest) {
  const known = latest.endedAt ?? latest.lastEventAt ?? 0;
  const now = useSignal(Math.max(known, latest.endedAt === null ? Date.now() : 0));
  useEffect(() => {
    if (latest.endedAt !== null) {
      now.value = latest.endedAt;
      return undefined;
    }
    const tick = () => {
      if (!document.hidden) now.value = Math.max(Date.now(), known);
    };
    tick();
    const timer = setInterval(tick, 1000);
    return () => clearInterval(timer);
  }, [latest.endedAt, known]);
  return now;
}

/**
 * Return a value that keeps what it can of the one before.
 * @template T
 * @param {T} value
 * @param {(before: T, after: T) => T} keep
 * @returns {T}
 */
function useKept(value, keep) {
  const before = useRef(value);
  before.current = before.current === value ? value : keep(before.current, value);
  return before.current;
}

/**
 * Return how wide the pictures of the rows are, now and after each change of the frame's size.
 * @param {import("../vendor.js").RefObject<HTMLElement|null>} frame
 * @returns {{picture: number, isNarrow: boolean}}
 */
function useWidth(frame) {
  const [width, setWidth] = useState(800);
  useLayoutEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const measure = () => setWidth(element.clientWidth);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const isNarrow = width < NARROW_PIXELS;
  // a windowed list has a scroll bar, for which there is always room
  return { picture: Math.max(160, width - (isNarrow ? 0 : LABEL_PIXELS) - 12), isNarrow };
}

/**
 * @param {number} origin
 * @param {number} now
 * @returns {number} a time after now, the same for a while
 */
function horizonOf(origin, now) {
  const passed = Math.max(LEAST_AXIS_MS, now - origin);
  return origin + LEAST_AXIS_MS * HEADROOM ** Math.ceil(Math.log(passed / LEAST_AXIS_MS) / Math.log(HEADROOM) + 0.5);
}

/**
 * @param {TimelineRow[]} all
 * @param {Choice} choice
 * @returns {TimelineRow[]} with the items of those that are expanded
 */
function shownRows(all, choice) {
  const { isErrorsFirst, isNotDone, isFiltered } = choice;
  const place = isFiltered ? { round: choice.round, attempt: choice.attempt } : {};
  const rows = filtered(all, { ...place, isErrorsFirst, isNotDone });
  return rows.flatMap((row) => (choice.expanded.has(row.name) ? [row, ...filtered(row.items, { isErrorsFirst, isNotDone })] : [row]));
}

/**
 * @param {{rows: TimelineRow[], choice: Choice, origin: number, end: number}} given
 * @returns {{from: number, to: number}} what the axis shows: the chosen range, or all bars of a chosen round or attempt
 */
function rangeOf({ rows, choice, origin, end }) {
  if (choice.zoom) return { from: origin + choice.zoom.from, to: origin + choice.zoom.to };
  const isPart = choice.isFiltered && (choice.round !== null || choice.attempt !== null);
  if (!isPart) return { from: origin, to: end };
  let [from, to] = [Infinity, -Infinity];
  for (const bar of allBars(rows)) {
    from = Math.min(from, bar.from);
    to = Math.max(to, bar.to ?? end);
  }
  return from < to ? { from, to } : { from: origin, to: end };
}

/**
 * @param {TimelineRow[]} rows
 * @param {number} end
 * @returns {import("./time_scale.js").Span[]}
 */
function spansOf(rows, end) {
  return allBars(rows).flatMap((bar) =>
    bar.segments
      .filter((segment) => segment.kind !== "blocked")
      .map((segment) => ({ from: segment.from, to: segment.to ?? end, isRun: segment.kind === "run" })),
  );
}

/**
 * @param {import("./critical_path.js").Leg[]} legs
 * @param {Set<string>} expanded
 * @returns {Map<string, import("./critical_path.js").Leg[]>} by the row that shows them
 */
function legsByRow(legs, expanded) {
  /** @type {Map<string, import("./critical_path.js").Leg[]>} */
  const found = new Map();
  for (const leg of legs) {
    const bracket = leg.step.indexOf("[");
    const owner = bracket > 0 ? leg.step.slice(0, bracket) : leg.step;
    const name = expanded.has(owner) && !leg.step.endsWith("[]") ? leg.step : owner;
    found.set(name, [...(found.get(name) ?? []), leg]);
  }
  return found;
}

/**
 * @param {Map<string, import("./budget_series.js").Cost>} costs
 * @returns {(bar: RowBar) => string} the class of a run
 */
function colourBy(costs) {
  const unit = comparedBy(costs.values());
  const most = Math.max(0, ...[...costs.values()].map((cost) => cost[unit] ?? 0));
  return (bar) => {
    const cost = costs.get(bar.key);
    if (!cost) return "cost-none";
    const amount = cost[unit];
    if (amount === null) return "cost-unknown";
    return `cost-${most > 0 ? Math.min(COST_LEVELS - 1, Math.floor((amount / most) * COST_LEVELS)) : 0}`;
  };
}

/**
 * @param {Choice} choice
 * @param {string|null} selected
 * @returns {string|null}
 */
function chosenKey({ round, attempt }, selected) {
  return selected === null || round === null || attempt === null ? null : `${round}/${selected}/${attempt}`;
}

/**
 * @param {State} latest
 * @returns {number[]} the numbers of the rounds that have a plan
 */
function roundsOf(latest) {
  return Object.keys(latest.rounds).map(Number).filter((number) => number > 0);
}

/**
 * @param {State} latest
 * @returns {import("./timeline_axis.js").Mark[]} where the rounds after the first one begin
 */
function marksOf(latest) {
  const rounds = Object.values(latest.rounds).filter((round) => round.number > 1);
  return rounds.map((round) => ({ at: round.startedAt, label: `round ${round.number}` }));
}

/**
 * @param {{from: number, to: number}} range
 * @param {number} factor
 * @param {{origin: number, end: number}} whole
 * @returns {{from: number, to: number}|null} null: the whole task
 */
function zoomed(range, factor, { origin, end }) {
  const half = ((range.to - range.from) * factor) / 2;
  const middle = (range.from + range.to) / 2;
  if (2 * half >= end - origin) return null;
  return { from: Math.max(origin, middle - half), to: middle + half };
}

/**
 * @param {{from: number, to: number}} range
 * @param {number} share of its length
 * @returns {{from: number, to: number}}
 */
function moved(range, share) {
  const by = (range.to - range.from) * share;
  return { from: range.from + by, to: range.to + by };
}

/**
 * @param {{from: number, to: number}|null} range
 * @param {number} origin
 * @returns {string|null} as the address has it: whole milliseconds since the submission
 */
function zoomText(range, origin) {
  if (range === null) return null;
  const from = Math.max(0, Math.floor(range.from - origin));
  return `${from}-${Math.max(from + 1, Math.ceil(range.to - origin))}`;
}

/**
 * @param {Set<string>} names
 * @param {string} name
 * @returns {string|null}
 */
function toggled(names, name) {
  const kept = [...names].filter((known) => known !== name);
  return (kept.length < names.size ? kept : [...kept, name]).join(",") || null;
}
