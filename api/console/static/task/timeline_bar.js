/** Draws the bars of one row of the timeline, and the patterns that tell waits apart. */

import { html } from "../vendor.js";
import { barLabel, outcomeOf } from "./bar_text.js";
import { xOf } from "./time_scale.js";

/**
 * @typedef {import("./timeline_rows.js").RowBar} RowBar
 * @typedef {import("./segments.js").Segment} Segment
 *
 * @typedef {object} Chart what all rows share
 * @property {import("./time_scale.js").TimeScale} scale
 * @property {import("../vendor.js").ReadonlySignal<number>} now
 * @property {number|null} moment the scrubber's; later parts are pale
 * @property {((bar: RowBar) => string)|null} colour the class of a run by its cost; null: by its outcome
 * @property {string|null} chosen key of the selected bar
 */

/** The height of a row's picture; its bars leave room for the critical path below. */
export const ROW_PIXELS = 24;
const TOP = 3;
const BAR_PIXELS = 14;
const PATH_TOP = 19;
/** The height of the strip that tells where items wait. */
const STRIP_PIXELS = 4;
const LEAST_PIXELS = 2;
const GLYPH_PIXELS = 16;

/** The patterns of waits; every picture of the page may use them. */
export function Patterns() {
  return html`
    <svg class="tl-patterns" aria-hidden="true" focusable="false" width="0" height="0">
      <defs>
        <pattern id="tl-queue" width="5" height="5" patternUnits="userSpaceOnUse">
          <circle class="tl-ink-fill" cx="1.5" cy="1.5" r="1" />
        </pattern>
        <pattern id="tl-retry" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <line class="tl-ink" x1="1" y1="0" x2="1" y2="6" stroke-width="2" />
        </pattern>
        <pattern id="tl-approval" width="6" height="4" patternUnits="userSpaceOnUse">
          <line class="tl-ink" x1="0" y1="1" x2="6" y2="1" stroke-width="1.25" />
        </pattern>
        <pattern id="tl-slot" width="7" height="6" patternUnits="userSpaceOnUse">
          <line class="tl-ink" x1="1" y1="0" x2="1" y2="6" stroke-width="1" />
        </pattern>
        <pattern id="tl-unknown" width="8" height="8" patternUnits="userSpaceOnUse">
          <path class="tl-ink" d="M0 4h8M4 0v8" stroke-width="1" />
        </pattern>
      </defs>
    </svg>
  `;
}

/**
 * The bar of one attempt. Its button is found by `data-bar`; the list decides which one of all Tab reaches.
 * @param {{bar: RowBar, chart: Chart, onChoose: (bar: RowBar) => void, onPoint: (bar: RowBar|null) => void}} props
 */
export function Bar({ bar, chart, onChoose, onPoint }) {
  const outcome = outcomeOf(bar);
  const isChosen = chart.chosen === bar.key;
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onChoose(bar);
  };
  const onFocus = (/** @type {FocusEvent} */ event) => {
    // what lasts has become longer since it was drawn
    /** @type {Element} */ (event.currentTarget).setAttribute("aria-label", barLabel(bar, chart.now.peek()));
    onPoint(bar);
  };
  return html`
    <g
      class=${`tl-bar ${isChosen ? "chosen" : ""} ${bar.isSpread ? "spread" : ""}`}
      data-bar=${bar.key}
      role="button"
      tabindex="-1"
      aria-label=${barLabel(bar, chart.now.peek())}
      aria-pressed=${isChosen}
      onClick=${() => onChoose(bar)}
      onKeyDown=${onKey}
      onFocus=${onFocus}
      onPointerEnter=${() => onPoint(bar)}
    >
      ${bar.segments.map((segment) => html`<${Part} segment=${segment} bar=${bar} chart=${chart} />`)}
      ${bar.segments.length === 0
        ? html`<text class=${`tl-moment ${outcome.tone}`} x=${xOf(chart.scale, bar.from)} y="15">${outcome.glyph}</text>`
        : html`<${Glyph} bar=${bar} chart=${chart} />`}
    </g>
  `;
}

/**
 * A part of a bar; one that lasts grows with the time, and nothing else is drawn again then.
 * @param {{segment: Segment, bar: RowBar, chart: Chart}} props
 */
function Part({ segment, bar, chart }) {
  const { from, to } = segment;
  if (from > chart.scale.to || (to !== null && to < chart.scale.from)) return null;
  const x1 = xOf(chart.scale, from);
  const x2 = xOf(chart.scale, to ?? chart.now.value);
  const width = Math.max(LEAST_PIXELS, x2 - x1);
  const isLater = chart.moment !== null && from >= chart.moment;
  const classes = `tl-part ${segment.kind} ${to === null ? "lasting" : ""} ${isLater ? "later" : ""}`;
  if (segment.kind === "blocked") return html`<rect class=${classes} x=${x1} y=${TOP + BAR_PIXELS / 2} width=${width} height="1" />`;
  if (segment.kind !== "run") {
    const rect = { x: x1, y: TOP, width, height: BAR_PIXELS };
    return html`<rect class=${`${classes} ground`} ...${rect} /><rect class=${classes} fill=${`url(#tl-${segment.kind})`} ...${rect} />`;
  }
  const colour = chart.colour?.(bar) ?? outcomeOf(bar).tone;
  const fill = colour === "cost-unknown" ? { fill: "url(#tl-unknown)" } : {};
  return html`<rect class=${`${classes} ${colour}`} ...${fill} x=${x1} y=${TOP} width=${width} height=${BAR_PIXELS} rx="2" />`;
}

/**
 * How the attempt ended, where it has room beside the others: colour is not all that tells it.
 * @param {{bar: RowBar, chart: Chart}} props
 */
function Glyph({ bar, chart }) {
  const run = bar.segments.findLast((segment) => segment.kind === "run");
  if (!run || run.from < chart.scale.from) return null;
  const x1 = xOf(chart.scale, run.from);
  const x2 = xOf(chart.scale, run.to ?? chart.now.value);
  if (x2 - x1 < GLYPH_PIXELS) return null;
  return html`<text class="tl-glyph" x=${x1 + 4} y="14" aria-hidden="true">${outcomeOf(bar).glyph}</text>`;
}

/**
 * The legs of the critical path in one row: a line below the bars.
 * @param {{legs: readonly import("./critical_path.js").Leg[], chart: Chart}} props
 */
export function CriticalLine({ legs, chart }) {
  return legs.map(({ from, to, isOpen }) => {
    if (from > chart.scale.to || (!isOpen && to < chart.scale.from)) return null;
    const x1 = xOf(chart.scale, from);
    const x2 = xOf(chart.scale, isOpen ? chart.now.value : to);
    return html`<rect class=${isOpen ? "tl-critical lasting" : "tl-critical"} x=${x1} y=${PATH_TOP} width=${Math.max(LEAST_PIXELS, x2 - x1)} height="3" />`;
  });
}

/**
 * How many items of a step run at each time, as an area; below it a strip where items wait.
 * @param {{levels: import("./timeline_rows.js").ItemLevel[], chart: Chart}} props
 */
export function Density({ levels, chart }) {
  const most = levels.reduce((peak, level) => Math.max(peak, level.running), 1);
  const height = BAR_PIXELS - STRIP_PIXELS;
  const running = steps(levels, chart, (level) => TOP + height * (1 - level.running / most));
  const waiting = steps(levels, chart, (level) => TOP + BAR_PIXELS - (level.waiting > 0 ? STRIP_PIXELS : 0));
  return html`
    <g class="tl-density" aria-hidden="true">
      <title>${`up to ${most} at a time`}</title>
      <path fill="url(#tl-queue)" d=${`${waiting}V${TOP + BAR_PIXELS}Z`} />
      <path class="tl-running" d=${`${running}V${TOP + height}Z`} />
    </g>
  `;
}

/**
 * @param {readonly import("./timeline_rows.js").ItemLevel[]} levels
 * @param {Chart} chart
 * @param {(level: import("./timeline_rows.js").ItemLevel) => number} y
 * @returns {string} a path of steps, without its end
 */
function steps(levels, chart, y) {
  const parts = levels.map((level) => `H${xOf(chart.scale, level.at).toFixed(1)}V${y(level).toFixed(1)}`);
  const [first, last] = [levels[0], levels.at(-1)];
  return first && last ? `M${xOf(chart.scale, first.at).toFixed(1)} ${y(last).toFixed(1)}${parts.join("")}` : "M0 0";
}
