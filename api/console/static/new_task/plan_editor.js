// Writes a plan as JSON, with the faults that the API finds in it at their lines.
import { html, useMemo, useRef } from "../vendor.js";
import { lineNumbers, placeAt, readPlaces } from "./json_positions.js";

const INDENT = "  ";
const EXAMPLE = {
  steps: [
    { id: "numbers", arm: "retriever", action: "collect", inputs: { values: [1, 2] } },
    {
      id: "check",
      arm: "judge",
      action: "verify",
      inputs: { value: { $from: "numbers", pointer: "/values/1" }, check: { at_least: 2 } },
    },
  ],
};

/** @typedef {{start: number, end: number, line: number, pointer: string, message: string}} Spot */

/**
 * @param {{text: string, onChange: (text: string) => void, faults: {path: string, message: string}[],
 *   isCurrent: boolean}} props faults: of the whole contract; isCurrent: they are those of this text
 */
export function PlanEditor({ text, onChange, faults, isCurrent }) {
  const area = /** @type {import("../vendor.js").RefObject<HTMLTextAreaElement | null>} */ (useRef(null));
  const spots = useMemo(() => spotsOf(text, faults), [text, faults]);
  const onKeyDown = useTabKey();
  const show = (/** @type {Spot} */ spot) => {
    const element = area.current;
    if (!element) return;
    element.focus();
    element.setSelectionRange(spot.start, spot.end);
    element.scrollTop = Math.max(0, (spot.line - 3) * Number.parseFloat(getComputedStyle(element).lineHeight));
  };
  const format = () => {
    if (!readPlaces(text).malformed) onChange(JSON.stringify(JSON.parse(text), null, 2));
  };
  return html`<div class="plan-editor">
    <label for="plan">Plan</label>
    <p class="hint" id="plan-hint">
      JSON: {"steps": [{"id", "arm", "action", "inputs", "depends_on"}]}. Tab indents; press Escape, then Tab, to leave.
    </p>
    <textarea
      id="plan"
      ref=${area}
      class="mono"
      rows="16"
      spellcheck=${false}
      autocapitalize="off"
      value=${text}
      aria-describedby="plan-hint plan-faults"
      aria-invalid=${spots.length ? "true" : null}
      onKeyDown=${onKeyDown}
      onInput=${(/** @type {any} */ event) => onChange(event.currentTarget.value)}
    ></textarea>
    <div class="row">
      <button type="button" onClick=${format}>Format</button>
      <button type="button" onClick=${() => onChange(JSON.stringify(EXAMPLE, null, 2))} disabled=${text.trim() !== ""}>Begin with an example</button>
      <span class="quiet">${text.trim() && !isCurrent && !spots.length ? "checking..." : ""}</span>
    </div>
    <ul class="faults" id="plan-faults" aria-label="Faults of the plan">
      ${spots.map(
        (spot) => html`<li key=${`${spot.pointer} ${spot.message}`}>
          <button type="button" class="quiet" onClick=${() => show(spot)}>line ${spot.line}</button>
          ${spot.pointer ? html`<code>${spot.pointer}</code>` : null} ${spot.message}
        </li>`,
      )}
    </ul>
  </div>`;
}

/**
 * Return where each fault of the plan stands in its text; of a text that is no JSON, where it stops being that.
 * @param {string} text
 * @param {{path: string, message: string}[]} faults of the contract
 * @returns {Spot[]}
 */
export function spotsOf(text, faults) {
  if (!text.trim()) return [];
  const { root, malformed } = readPlaces(text);
  const lineOf = lineNumbers(text);
  if (malformed) {
    const { offset, message } = malformed;
    return [{ start: offset, end: offset + 1, line: lineOf(offset), pointer: "", message }];
  }
  return faultsOfPlan(faults).map(({ path, message }) => {
    const place = placeAt(root, path);
    const isLong = place.end - place.start > 200;
    return { start: place.start, end: isLong ? place.start : place.end, line: lineOf(place.name), pointer: path, message };
  });
}

/**
 * Return the faults of the plan with their paths in it.
 * @param {{path: string, message: string}[]} faults of the contract
 */
export function faultsOfPlan(faults) {
  return faults
    .filter(({ path }) => path === "/plan" || path.startsWith("/plan/"))
    .map(({ path, message }) => ({ path: path.slice("/plan".length), message }));
}

/** Return a listener that indents with Tab, until Escape gives the key back to the browser for the next press. */
function useTabKey() {
  const isFree = useRef(false);
  return (/** @type {KeyboardEvent} */ event) => {
    const isTab = event.key === "Tab" && !event.altKey && !event.ctrlKey && !event.metaKey;
    if (event.key === "Escape") {
      isFree.current = true;
    } else if (!isTab) {
      if (event.key !== "Shift") isFree.current = false;
    } else if (isFree.current || event.shiftKey) {
      isFree.current = false;
    } else {
      event.preventDefault();
      // unlike setRangeText() it can be undone
      document.execCommand("insertText", false, INDENT);
    }
  };
}
