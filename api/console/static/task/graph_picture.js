/** The boxes and arrows of a structure, with what each kind of graph says in a box; knows no task and no plan. */

import { html, useEffect, useMemo, useRef, useState } from "../vendor.js";
import { nodeBeside, pathOf } from "./graph_layout.js";
import { GraphView } from "./graph_view.js";
import { useLayout } from "./layout_client.js";

/**
 * @typedef {import("./graph_structure.js").Structure} Structure
 * @typedef {import("./graph_structure.js").Node} Node
 * @typedef {import("./graph_node.js").NodeProps} NodeProps
 *
 * @typedef {object} Drawing
 * @property {(node: Node) => unknown[]} partsOf what the box of a node shows: it is drawn again when one differs
 * @property {(props: NodeProps) => any} draw
 *
 * @typedef {object} PictureProps
 * @property {Structure} structure
 * @property {Drawing} drawing
 * @property {string} label of the whole, for screen readers
 * @property {string|null} chosen id of the node that is chosen
 * @property {ReadonlySet<string>} critical steps on the critical path
 * @property {(node: Node) => void} onChoose
 * @property {(node: Node) => void} onOpen shows or hides what is in the node
 * @property {(item: string) => void} [onItem]
 * @property {unknown} [tools] more buttons
 */

const NOBODY = /** @type {ReadonlySet<string>} */ (new Set());

/** @param {PictureProps} props */
export function GraphPicture({ structure, drawing, label, chosen, critical = NOBODY, onChoose, onOpen, onItem, tools }) {
  const shown = useLayout(structure);
  const [focus, setFocus] = useState(0);
  const known = useRef(new Map());
  const [layout, drawn] = [shown?.layout ?? null, shown?.structure ?? null];
  useEffect(() => setFocus(0), [drawn]);
  useMemo(() => known.current.clear(), [drawn]);
  const lit = [...critical].sort().join("\n");
  const arrows = useMemo(() => (drawn && layout ? arrowsOf({ drawn, layout, critical, chosen }) : null), [drawn, lit, chosen]);
  if (!drawn || !layout) return html`<p class="quiet" role="status">Laying out the graph…</p>`;

  const boxes = drawn.nodes.map((node, place) => {
    const props = {
      node,
      place,
      corner: layout.corners[place] ?? /** @type {[number, number]} */ ([0, 0]),
      hasFocus: place === Math.min(focus, drawn.nodes.length - 1),
      isSelected: node.id === chosen,
      isCritical: node.names.some((name) => critical.has(name)),
    };
    return kept(known.current, [props.hasFocus, props.isSelected, props.isCritical, ...drawing.partsOf(node)], props, drawing);
  });
  const nodeAt = (/** @type {unknown} */ target) => {
    const place = placeOf(target);
    return place === null ? undefined : drawn.nodes[place];
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const at = placeOf(event.target);
    const node = nodeAt(event.target);
    if (at === null || !node || event.shiftKey) return;
    if (event.key === "Enter") onChoose(node);
    else if (event.key === " ") onOpen(node);
    else {
      const next = nodeBeside(drawn, layout, at, event.key);
      if (next === null) {
        // at the end of a way the page must not scroll instead
        if (event.key.startsWith("Arrow")) event.preventDefault();
        return;
      }
      setFocus(next);
      const frame = /** @type {Element} */ (event.currentTarget);
      /** @type {SVGElement|null} */ (frame.querySelector(`[data-place="${next}"]`))?.focus();
    }
    event.preventDefault();
  };
  const onPick = (/** @type {MouseEvent} */ event) => {
    const target = /** @type {Element} */ (event.target);
    const node = nodeAt(target);
    if (!node) return;
    setFocus(drawn.nodes.indexOf(node));
    const item = target.closest("[data-item]")?.getAttribute("data-item");
    if (item && onItem) onItem(item);
    else if (target.closest(".items")) onOpen(node);
    else onChoose(node);
  };
  return html`<${GraphView}
      width=${layout.width} height=${layout.height} label=${label} isBusy=${drawn !== structure}
      onKey=${onKey} onPick=${onPick} tools=${tools}
    >
      ${arrows}
      <g>${boxes}</g>
    <//>
    <p class="graph-legend quiet">
      <span class="graph-sign data" aria-hidden="true"></span> a value flows${" "}
      <span class="graph-sign order" aria-hidden="true"></span> order only${" "}
      ${critical.size > 0 ? html`<span class="graph-sign critical" aria-hidden="true"></span> critical path` : null}
      ${drawn.leftOut > 0 ? html` · ${drawn.leftOut.toLocaleString("en-US")} more arrows are not drawn` : null}
      <span class="graph-keys">Keys: arrows walk, Enter selects, Space opens, + − 0 zoom, Shift and arrows move.</span>
    </p>`;
}

/**
 * Return the drawing of a node: the one before if nothing in it changed, which Preact then passes over.
 * @param {Map<string, {parts: unknown[], vnode: any}>} known
 * @param {unknown[]} parts
 * @param {NodeProps} props
 * @param {Drawing} drawing
 */
function kept(known, parts, props, drawing) {
  const before = known.get(props.node.id);
  if (before && before.parts.length === parts.length && parts.every((part, index) => part === before.parts[index])) {
    return before.vnode;
  }
  const vnode = drawing.draw(props);
  known.set(props.node.id, { parts, vnode });
  return vnode;
}

/**
 * @param {{drawn: Structure, layout: import("./graph_layout.js").Layout, critical: ReadonlySet<string>,
 *   chosen: string|null}} given
 */
function arrowsOf({ drawn, layout, critical, chosen }) {
  const isCritical = drawn.nodes.map((node) => node.names.some((name) => critical.has(name)));
  return html`<defs>
      <marker id="graph-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
        <path d="M0 0L8 4L0 8z" />
      </marker>
    </defs>
    <g class="graph-arrows">
      ${drawn.edges.map(({ from, to, carries }, place) => {
        const [source, target] = [drawn.nodes[from], drawn.nodes[to]];
        const isChosen = chosen !== null && (source?.id === chosen || target?.id === chosen);
        const look = [
          carries?.length === 0 && "order",
          isCritical[from] && isCritical[to] && "critical",
          isChosen && "chosen",
        ].filter(Boolean);
        return html`<path class=${look.join(" ") || null} d=${pathOf(layout.lines[place] ?? [])} marker-end="url(#graph-tip)">
          <title>${nameOf(source)} to ${nameOf(target)}${flowOf(carries)}</title>
        </path>`;
      })}
    </g>`;
}

/** @param {Node|undefined} node */
function nameOf(node) {
  return node?.kind === "group" ? `${node.arm} at depth ${node.depth}` : node?.names[0];
}

/**
 * Return what flows along an arrow, in words.
 * @param {string[]|null} carries
 */
export function flowOf(carries) {
  if (carries === null) return "";
  if (carries.length === 0) return ": order only";
  return `: ${carries.map((part) => part || "the whole output").join(", ")}`;
}

/**
 * @param {unknown} target
 * @returns {number|null} the place of the node in which an element is
 */
function placeOf(target) {
  const text = /** @type {Element} */ (target).closest("[data-place]")?.getAttribute("data-place");
  return text === null || text === undefined ? null : Number(text);
}
