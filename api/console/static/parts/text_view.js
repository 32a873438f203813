// Shows a text with the numbers of its lines; words may be marked in it.
import { count } from "../format.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor.js";
import { CopyButton } from "./copy_button.js";

const LINES = 1000;
const MAX_LINE = 5000;

/** @param {{text: string, label: string, quote?: string | null}} props quote: the words to mark */
export function TextView({ text, label, quote = null }) {
  const lines = useMemo(() => text.replace(/\n$/, "").split("\n"), [text]);
  const marks = useMemo(() => marksOf(text, quote), [text, quote]);
  const marked = /** @type {import("../vendor.js").RefObject<HTMLElement | null>} */ (useRef(null));
  const first = marks?.first ?? 0;
  const [limit, setLimit] = useState(LINES);
  const end = Math.max(limit, Math.min(lines.length, first + 20));
  useEffect(() => marked.current?.scrollIntoView({ block: "nearest" }), [quote, text]);
  return html`<div class="text-view">
    <div class="row"><span class="quiet">${count(lines.length, "line")}</span><${CopyButton} text=${text} label=${`Copy ${label}`} /></div>
    <div class="text-lines" role="region" aria-label=${label} tabindex="0">
      ${lines.slice(0, end).map((line, index) => {
        const mark = marks?.byLine.get(index);
        return html`<div class="text-line" key=${index}>
          <span class="text-number" aria-hidden="true">${index + 1}</span>
          <span class="text-words">${mark ? html`${line.slice(0, mark[0])}<mark ref=${index === first ? marked : null}>${line.slice(mark[0], mark[1])}</mark>${line.slice(mark[1])}` : line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line}</span>
        </div>`;
      })}
    </div>
    ${end < lines.length
      ? html`<p class="row"><span>${count(end, "line")} are shown</span>
          <button type="button" onClick=${() => setLimit(end + LINES)}>Show more</button></p>`
      : null}
  </div>`;
}

/**
 * Return which part of which line the first place of a quote is.
 * @param {string} text
 * @param {string | null} quote
 */
function marksOf(text, quote) {
  const at = quote ? text.indexOf(quote) : -1;
  if (!quote || at < 0) return null;
  const first = text.slice(0, at).split("\n").length - 1;
  const column = at - (text.lastIndexOf("\n", at - 1) + 1);
  const byLine = new Map(
    quote.split("\n").map((part, index) => {
      const start = index === 0 ? column : 0;
      return /** @type {[number, [number, number]]} */ ([first + index, [start, start + part.length]]);
    }),
  );
  return { first, byLine };
}
