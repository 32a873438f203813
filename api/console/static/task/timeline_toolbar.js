/** What the reader chooses at the timeline: the round, the attempts, the range of time, the colours; and its legend. */

import { html } from "../vendor.js";
import { KINDS } from "./bar_text.js";

/**
 * @typedef {object} Choice what the address holds of the timeline
 * @property {number|null} round
 * @property {number|"last"|null} attempt
 * @property {boolean} isFiltered false: round and attempt are only selected, and all are shown
 * @property {{from: number, to: number}|null} zoom milliseconds since the task's submission
 * @property {boolean} isByCost
 * @property {Set<string>} expanded the steps whose items are shown
 * @property {boolean} isErrorsFirst
 * @property {boolean} isNotDone
 *
 * @typedef {(changes: Record<string, string|number|boolean|null>) => void} OnChange
 */

const NAMES = /** @type {const} */ (["queue", "run", "retry", "slot", "approval"]);
/** A step with more items than these are named in the address is cut off there. */
const MOST_EXPANDED = 20;

/**
 * Read what the address holds of the timeline; what is not understood is left out.
 * @param {URLSearchParams} query
 * @returns {Choice}
 */
export function choiceOf(query) {
  const [from, to] = (query.get("zoom") ?? "").split("-").map(Number);
  const isZoomed = from !== undefined && to !== undefined && Number.isFinite(from) && to > from;
  const attempt = query.get("attempt");
  return {
    round: natural(query.get("round")),
    attempt: attempt === "last" ? "last" : natural(attempt),
    isFiltered: query.get("span") !== "all",
    zoom: isZoomed ? { from, to } : null,
    isByCost: query.get("colour") === "cost",
    expanded: new Set((query.get("open") ?? "").split(",").filter(Boolean).slice(0, MOST_EXPANDED)),
    isErrorsFirst: query.has("errors"),
    isNotDone: query.has("not_done"),
  };
}

/**
 * @param {{choice: Choice, rounds: number[], attempts: number, onChange: OnChange, onZoom: (factor: number|null) => void,
 *   onMove: (share: number) => void}} props rounds: their numbers; attempts: the highest number
 */
export function Toolbar({ choice, rounds, attempts, onChange, onZoom, onMove }) {
  const round = choice.isFiltered ? choice.round : null;
  const attempt = choice.isFiltered ? choice.attempt : null;
  return html`
    <div class="tl-toolbar" role="group" aria-label="Timeline">
      ${rounds.length > 1
        ? html`<${Picker} label="Round" value=${round} options=${rounds} all="all rounds"
            onPick=${(/** @type {string} */ value) => onChange({ round: value, span: null })} />`
        : null}
      ${attempts > 1
        ? html`<${Picker} label="Attempt" value=${attempt} options=${["last", ...numbers(attempts)]} all="all attempts"
            onPick=${(/** @type {string} */ value) => onChange({ attempt: value, span: null })} />`
        : null}
      <${Toggle} name="not_done" isOn=${choice.isNotDone} onChange=${onChange}>Not done<//>
      <${Toggle} name="errors" isOn=${choice.isErrorsFirst} onChange=${onChange}>Errors first<//>
      <label class="tl-check">
        <input type="checkbox" checked=${choice.isByCost}
          onChange=${() => onChange({ colour: choice.isByCost ? null : "cost" })} /> colour by cost
      </label>
      <span class="tl-zoom" role="group" aria-label="Range of time">
        <button onClick=${() => onZoom(0.5)} aria-label="Zoom in">+</button>
        <button onClick=${() => onZoom(2)} aria-label="Zoom out" disabled=${!choice.zoom}>−</button>
        <button onClick=${() => onMove(-0.5)} aria-label="Earlier" disabled=${!choice.zoom}>◀</button>
        <button onClick=${() => onMove(0.5)} aria-label="Later" disabled=${!choice.zoom}>▶</button>
        <button onClick=${() => onZoom(null)} disabled=${!choice.zoom}>whole task</button>
      </span>
    </div>
  `;
}

/** @param {{name: string, isOn: boolean, onChange: OnChange, children?: unknown}} props */
function Toggle({ name, isOn, onChange, children }) {
  return html`<button class="toggle" aria-pressed=${isOn} onClick=${() => onChange({ [name]: !isOn })}>${children}</button>`;
}

/**
 * @param {{label: string, value: number|string|null, options: (number|string)[], all: string, onPick: (value: string) => void}} props
 */
function Picker({ label, value, options, all, onPick }) {
  return html`
    <label class="tl-pick">
      ${label}
      <select value=${String(value ?? "")} onChange=${(/** @type {any} */ event) => onPick(event.currentTarget.value)}>
        <option value="">${all}</option>
        ${options.map((option) => html`<option value=${String(option)}>${option === "last" ? "last of each" : option}</option>`)}
      </select>
    </label>
  `;
}

/**
 * @param {{isByCost: boolean, unit: import("./budget_series.js").Unit}} props
 */
export function Legend({ isByCost, unit }) {
  return html`
    <ul class="tl-legend" aria-label="Legend">
      ${NAMES.map((name) => html`<li><${Sample} name=${name} /> ${KINDS[name].label}</li>`)}
      <li><svg class="tl-sample" width="24" height="14" aria-hidden="true"><rect class="tl-critical" y="6" width="24" height="3" /></svg> determined the end</li>
      ${isByCost
        ? html`<li>
            <svg class="tl-sample" width="60" height="14" aria-hidden="true">
              ${[0, 1, 2, 3, 4].map((level) => html`<rect class=${`tl-part run cost-${level}`} x=${level * 12} width="12" height="14" />`)}
            </svg>
            less to more ${unit} <svg class="tl-sample" width="14" height="14" aria-hidden="true"><rect class="tl-part run cost-unknown" fill="url(#tl-unknown)" width="14" height="14" /></svg> unknown
          </li>`
        : null}
    </ul>
  `;
}

/** @param {{name: import("./segments.js").SegmentKind}} props */
function Sample({ name }) {
  const rect = { width: 24, height: 14 };
  return html`
    <svg class="tl-sample" width="24" height="14" aria-hidden="true">
      ${name === "run"
        ? html`<rect class="tl-part run busy" ...${rect} />`
        : html`<rect class=${`tl-part ground ${name}`} ...${rect} /><rect class=${`tl-part ${name}`} fill=${`url(#tl-${name})`} ...${rect} />`}
    </svg>
  `;
}

/**
 * @param {number} most
 * @returns {number[]} from 1
 */
function numbers(most) {
  return Array.from({ length: Math.min(most, 100) }, (_, index) => index + 1);
}

/**
 * @param {string|null} text
 * @returns {number|null}
 */
function natural(text) {
  return text !== null && /^\d{1,6}$/.test(text) ? Number(text) : null;
}
