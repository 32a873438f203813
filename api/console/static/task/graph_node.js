/** Draws one box of a graph as SVG: a step, or a group of steps. */

import { html } from "../vendor.js";
import { cellPlace } from "./graph_structure.js";
import { shortened } from "./graph_text.js";
import { lookOf } from "../parts/badge.js";

const NAME_LETTERS = 21;
const LINE_LETTERS = 30;
const PADDING = 10;

/**
 * @typedef {import("./graph_structure.js").Node} Node
 * @typedef {import("./graph_text.js").Box} Box
 * @typedef {import("./graph_layout.js").Point} Point
 *
 * @typedef {object} NodeProps
 * @property {Node} node
 * @property {Point} corner
 * @property {number} place of the node in the structure
 * @property {boolean} hasFocus it is the one that Tab leads to
 * @property {boolean} isSelected
 * @property {boolean} isCritical it is on the critical path
 */

/**
 * A step: its state as colour, sign and word, its arm, its run time, its items.
 * @param {NodeProps & {box: Box, isOpen: boolean}} props isOpen: its items are shown
 */
export function StepNode({ node, corner, place, box, hasFocus, isSelected, isCritical, isOpen }) {
  const [tone, glyph] = box.state === null ? [box.faults.length > 0 ? "bad" : "idle", ""] : lookOf(box.state);
  const sign = box.faults.length > 0 ? "!" : glyph;
  const look = ["graph-node", tone, isSelected && "selected", isCritical && "critical", box.isReused && "reused"];
  const nameAt = sign ? PADDING + 18 : PADDING;
  return html`<g
    class=${look.filter(Boolean).join(" ")}
    transform=${`translate(${corner[0]} ${corner[1]})`}
    role="button"
    tabindex=${hasFocus ? 0 : -1}
    data-place=${place}
    aria-label=${box.label}
    aria-pressed=${isSelected ? "true" : "false"}
    aria-expanded=${box.items ? String(isOpen) : null}
  >
    <title>${[box.name, box.does, box.told, ...box.faults].filter(Boolean).join("\n")}</title>
    <rect class="box" width=${node.width} height=${node.height} rx="6" />
    ${box.percent === null ? null : html`<rect class="percent" y=${59} width=${(node.width * box.percent) / 100} height="3" />`}
    ${sign ? html`<text class="sign" x=${PADDING} y="20">${sign}</text>` : null}
    <text class="name" x=${nameAt} y="20">${shortened(box.name, NAME_LETTERS - (box.items ? box.items.length + 1 : 0))}</text>
    ${box.items ? html`<text class="items" x=${node.width - PADDING} y="20" text-anchor="end">${isOpen ? "▾" : "▸"} ${box.items}</text>` : null}
    <text class="does" x=${PADDING} y="36">${shortened(box.does, LINE_LETTERS)}</text>
    <text class="told" x=${PADDING} y="52">${shortened(box.told, LINE_LETTERS)}</text>
    ${box.cells.map((cell, index) => html`<${Cell} name=${cell.name} state=${cell.state} index=${index} />`)}
  </g>`;
}

/** @param {{name: string, state: string, index: number}} props an item as a small square */
function Cell({ name, state, index }) {
  const { x, y, size } = cellPlace(index);
  const [tone, glyph] = lookOf(state);
  return html`<g class=${`graph-cell ${tone}`} data-item=${name} transform=${`translate(${x} ${y})`}>
    <title>${name}: ${state}</title>
    <rect width=${size} height=${size} rx="2" />
    <text x=${size / 2} y=${size - 2} text-anchor="middle">${glyph}</text>
  </g>`;
}

/**
 * Steps of one arm and depth that are put together: how many there are in each state.
 * @param {NodeProps & {counts: [state: string, count: number][], label: string}} props
 */
export function GroupNode({ node, corner, place, counts, label, hasFocus, isSelected, isCritical }) {
  const [first] = counts;
  const [tone] = lookOf(first?.[0] ?? "blocked");
  const look = ["graph-node", "group", tone, isSelected && "selected", isCritical && "critical"];
  const told = counts.map(([state, count]) => `${lookOf(state)[1]} ${count} ${state}`);
  return html`<g
    class=${look.filter(Boolean).join(" ")}
    transform=${`translate(${corner[0]} ${corner[1]})`}
    role="button"
    tabindex=${hasFocus ? 0 : -1}
    data-place=${place}
    aria-label=${label}
    aria-expanded=${String(isSelected)}
  >
    <title>${label}</title>
    <rect class="behind" x="4" y="4" width=${node.width} height=${node.height} rx="6" />
    <rect class="box" width=${node.width} height=${node.height} rx="6" />
    <text class="name" x=${PADDING} y="20">${node.names.length} × ${shortened(node.arm || "no arm", NAME_LETTERS - 5)}</text>
    ${[0, 1, 2].map((line) => html`<text class="told" x=${PADDING} y=${36 + 14 * line}>
      ${shortened(told.slice(2 * line, 2 * line + 2).join("  "), LINE_LETTERS)}
    </text>`)}
  </g>`;
}
