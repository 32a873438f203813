// A chart of an arm's minutes: uPlot with the page's colours, its legend, and its numbers in words.
import { theme } from "../theme.js";
import { html, uPlot, useEffect, useRef, useState } from "../vendor.js";
import { columnsOf, decimal, spoken } from "./arm_series.js";
import { clock, duration } from "../format.js";

const HEIGHT = 160;
const DASHES = [[], [6, 3]];

/** @typedef {import("./arm_series.js").Minute} Minute */
/** @typedef {{member: "finished" | "failed" | "p50_ms" | "p95_ms" | "queued" | "busy", name: string, colour: string}} Line */

/**
 * One or two lines over the minutes. The first is drawn whole, the second in dashes, so that not only colours tell them
 * apart.
 * @param {{title: string, series: Minute[], lines: Line[], unit?: "ms" | ""}} props colour: the name of a token
 */
export function Chart({ title, series, lines, unit = "" }) {
  const place = /** @type {import("../vendor.js").RefObject<HTMLDivElement | null>} */ (useRef(null));
  const plot = /** @type {{current: import("../vendor.js").uPlot | null}} */ (useRef(null));
  const looks = usePalette();
  const columns = columnsOf(
    series,
    lines.map((line) => line.member),
  );
  const latest = useRef(columns);
  latest.current = columns;
  useEffect(() => {
    const element = place.current;
    if (!element) return undefined;
    const drawn = new uPlot(optionsOf(element.clientWidth, lines, unit), /** @type {any} */ (latest.current), element);
    plot.current = drawn;
    const observer = new ResizeObserver(() => drawn.setSize({ width: Math.max(element.clientWidth, 100), height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      drawn.destroy();
      plot.current = null;
    };
  }, [looks, title]);
  useEffect(() => plot.current?.setData(/** @type {any} */ (columns)), [series]);
  const words = spoken(
    title,
    lines.map((line, index) => [line.name, /** @type {(number | null)[]} */ (columns[index + 1]), unit]),
  );
  return html`<figure class="arm-chart">
    <figcaption>
      <span class="arm-chart-title">${title}</span>
      ${lines.map((line, index) => html`<span class="arm-chart-key"><${Sample} colour=${line.colour} dash=${DASHES[index]} />${line.name}</span>`)}
    </figcaption>
    <div class="arm-chart-place" role="img" aria-label=${words} ref=${place}></div>
  </figure>`;
}

/** @param {{colour: string, dash?: number[]}} props */
function Sample({ colour, dash = [] }) {
  return html`<svg width="24" height="8" aria-hidden="true" class=${`tone-${colour}`}>
    <line x1="0" y1="4" x2="24" y2="4" stroke="currentColor" stroke-width="2" stroke-dasharray=${dash.join(" ")} />
  </svg>`;
}

/** Changes when the page's colours do: by the reader's choice, or by the system's. */
function usePalette() {
  const [looks, setLooks] = useState(0);
  const chosen = theme.value;
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setLooks((count) => count + 1);
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);
  return `${looks} ${chosen}`;
}

/**
 * @param {number} width
 * @param {Line[]} lines
 * @param {"ms" | ""} unit
 * @returns {any} uPlot's options
 */
function optionsOf(width, lines, unit) {
  const style = getComputedStyle(document.documentElement);
  /** @param {string} name */
  const token = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { stroke: token("text-quiet"), grid: { stroke: token("line"), width: 1 }, ticks: { stroke: token("line") } };
  return {
    width: Math.max(width, 100),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: { y: { range: (/** @type {unknown} */ _, /** @type {number} */ __, /** @type {number} */ most) => [0, Math.max(most, 1) * 1.1] } },
    axes: [
      {
        ...axis,
        space: 50,
        values: (/** @type {unknown} */ _, /** @type {number[]} */ ticks) => ticks.map((tick) => clock(tick * 1000).slice(11, 16)),
      },
      {
        ...axis,
        size: 64,
        values: (/** @type {unknown} */ _, /** @type {number[]} */ ticks) =>
          ticks.map((tick) => (unit === "ms" ? duration(tick) : decimal(tick))),
      },
    ],
    series: [
      {},
      ...lines.map((line, index) => ({
        label: line.name,
        stroke: token(line.colour),
        width: 2,
        dash: DASHES[index],
        // a minute without neighbours is no line
        points: { show: unit === "ms", size: 5 },
      })),
    ],
  };
}
