// Shows a unified diff: one column, or the old beside the new where there is room and the reader wants it.
import { count } from "../format.js";
import { html, useMemo, useState } from "../vendor.js";
import { CopyButton } from "./copy_button.js";
import { diffLines, sideBySide } from "./value_shape.js";

/** @typedef {import("./value_shape.js").DiffLine} DiffLine */

const LINES = 1000;
/** @type {Record<DiffLine["kind"], string>} */
const SIGNS = { add: "+", remove: "-", same: " ", file: "", hunk: "", note: "" };

/** @param {{text: string, label: string}} props */
export function DiffView({ text, label }) {
  const lines = useMemo(() => diffLines(text), [text]);
  const [isSplit, setSplit] = useState(() => matchMedia("(min-width: 1280px)").matches);
  const [limit, setLimit] = useState(LINES);
  const shown = lines.slice(0, limit);
  const added = lines.filter((line) => line.kind === "add").length;
  const removed = lines.filter((line) => line.kind === "remove").length;
  return html`<div class="diff-view">
    <div class="row">
      <span><span class="diff-added">+${added}</span> <span class="diff-removed">-${removed}</span></span>
      <button type="button" class="quiet diff-split" aria-pressed=${isSplit} onClick=${() => setSplit(!isSplit)}>Side by side</button>
      <${CopyButton} text=${text} label=${`Copy ${label}`} />
    </div>
    <div class=${isSplit ? "diff-lines split" : "diff-lines"} role="region" aria-label=${label} tabindex="0">
      ${isSplit ? sideBySide(shown).map(pairOf) : shown.map((line) => html`<${Line} line=${line} />`)}
    </div>
    ${limit < lines.length
      ? html`<p class="row"><span>${count(limit, "line")} are shown</span>
          <button type="button" onClick=${() => setLimit(limit + LINES)}>Show more</button></p>`
      : null}
  </div>`;
}

/** @param {[DiffLine | null, DiffLine | null]} pair */
function pairOf([before, after]) {
  const whole = before ?? after;
  if (before === after && whole && whole.kind !== "same") return html`<${Line} line=${whole} />`;
  return html`<div class="diff-pair"><${Line} line=${before} /><${Line} line=${after} isNew=${true} /></div>`;
}

/** @param {{line: DiffLine | null, isNew?: boolean}} props */
function Line({ line, isNew = false }) {
  if (!line) return html`<div class="diff-line none"></div>`;
  const number = isNew ? line.after : (line.before ?? line.after);
  return html`<div class=${`diff-line ${line.kind}`}>
    <span class="text-number" aria-hidden="true">${number ?? ""}</span><span class="diff-sign">${SIGNS[line.kind]}</span><span class="text-words">${line.text}</span>
  </div>`;
}
