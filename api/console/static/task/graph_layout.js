/**
 * Where the boxes and arrows of a graph stand: by dagre, or in columns where that would take too long. Left to right,
 * in the units of SVG. Pure: dagre is given, so that a Worker, a page and a test use the same.
 */

import { depthsOf } from "./graph_order.js";

const MARGIN = 12;
const GAP = { column: 64, row: 18 };
/** dagre's time grows with boxes, arrows and the columns that long arrows pass. */
const MOST_BENDS = 3000;

/**
 * @typedef {import("./graph_structure.js").Shape} Shape
 * @typedef {[number, number]} Point
 *
 * @typedef {object} Layout
 * @property {Point[]} corners the upper left corner of each box
 * @property {Point[][]} lines the points of each arrow, from the right side of a box to the left side of another one
 * @property {number} width
 * @property {number} height
 */

/**
 * Return the layout of a shape; a circle of arrows is drawn too.
 * @param {any} dagre the module; null: columns
 * @param {Shape} shape
 * @returns {Layout}
 */
export function layoutOf(dagre, shape) {
  if (dagre === null || shape.edges.length === 0 || bendsOf(shape) > MOST_BENDS) return columnLayout(shape);
  return dagreLayout(dagre, shape);
}

/**
 * @param {Shape} shape
 * @returns {number} how many columns long arrows pass
 */
function bendsOf({ sizes, edges }) {
  const depths = depthsOf(sizes.length, edges.map(arrow));
  return edges.reduce((sum, [from, to]) => sum + Math.max(0, (depths[to] ?? 0) - (depths[from] ?? 0) - 1), 0);
}

/**
 * @param {readonly [number, number]} edge
 * @returns {import("./graph_order.js").Arrow}
 */
function arrow([from, to]) {
  return { from, to };
}

/**
 * @param {any} dagre
 * @param {Shape} shape
 * @returns {Layout}
 */
function dagreLayout(dagre, { sizes, edges }) {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: GAP.row, ranksep: GAP.column, marginx: MARGIN, marginy: MARGIN });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const [place, [width, height]] of sizes.entries()) graph.setNode(String(place), { width, height });
  for (const [from, to] of edges) graph.setEdge(String(from), String(to));
  dagre.layout(graph);
  /** @type {{x: number, y: number}[][]} */
  const bends = edges.map(([from, to]) => graph.edge(String(from), String(to)).points.slice(1, -1));
  // dagre's own measure leaves out arrows that pass above and below the boxes
  const heights = bends.flat().map(({ y }) => y);
  const { width, height } = graph.graph();
  const top = MARGIN - Math.min(MARGIN, ...heights);
  const corners = sizes.map(([boxWidth, boxHeight], place) => {
    const { x, y } = graph.node(String(place));
    return /** @type {Point} */ ([round(x - boxWidth / 2), round(y + top - boxHeight / 2)]);
  });
  const lines = edges.map(([from, to], place) =>
    lineBetween({
      corners,
      sizes,
      from,
      to,
      bends: (bends[place] ?? []).map(({ x, y }) => /** @type {Point} */ ([round(x), round(y + top)])),
    }),
  );
  const bottom = Math.max(height, ...heights.map((y) => y + MARGIN));
  return { corners, lines, width: round(width), height: round(top + bottom) };
}

/**
 * Put boxes into columns by depth, each centred; takes time linear in the shape.
 * @param {Shape} shape
 * @returns {Layout}
 */
function columnLayout({ sizes, edges }) {
  const depths = depthsOf(sizes.length, edges.map(arrow));
  /** @type {number[][]} */
  const columns = [];
  for (const [place, depth] of depths.entries()) (columns[depth] ??= []).push(place);
  const heights = columns.map((column) =>
    column.reduce((sum, place) => sum + (sizes[place]?.[1] ?? 0) + GAP.row, -GAP.row),
  );
  const height = Math.max(0, ...heights);
  /** @type {Point[]} */
  const corners = new Array(sizes.length);
  let left = MARGIN;
  for (const [depth, column] of columns.entries()) {
    let top = MARGIN + (height - (heights[depth] ?? 0)) / 2;
    for (const place of column) {
      corners[place] = [round(left), round(top)];
      top += (sizes[place]?.[1] ?? 0) + GAP.row;
    }
    left += Math.max(...column.map((place) => sizes[place]?.[0] ?? 0)) + GAP.column;
  }
  const lines = edges.map(([from, to]) => lineBetween({ corners, sizes, from, to, bends: [] }));
  return { corners, lines, width: Math.max(left - GAP.column + MARGIN, 2 * MARGIN), height: round(height + 2 * MARGIN) };
}

/**
 * @param {{corners: Point[], sizes: Shape["sizes"], from: number, to: number, bends: Point[]}} way
 * @returns {Point[]}
 */
function lineBetween({ corners, sizes, from, to, bends }) {
  const [x, y] = corners[from] ?? [0, 0];
  const [width, height] = sizes[from] ?? [0, 0];
  const [endX, endY] = corners[to] ?? [0, 0];
  const endHeight = sizes[to]?.[1] ?? 0;
  return [[round(x + width), round(y + height / 2)], ...bends, [endX, round(endY + endHeight / 2)]];
}

/**
 * @param {number} value
 * @returns {number} to a tenth
 */
function round(value) {
  return Math.round(value * 10) / 10;
}

/**
 * Return the smooth way through the points of an arrow, as the attribute `d` of an SVG path.
 * @param {readonly Point[]} points
 * @returns {string}
 */
export function pathOf(points) {
  return points
    .map(([x, y], place) => {
      const [fromX, fromY] = points[place - 1] ?? [x, y];
      const middle = round((fromX + x) / 2);
      return place === 0 ? `M${x} ${y}` : `C${middle} ${fromY} ${middle} ${y} ${x} ${y}`;
    })
    .join("");
}

/**
 * Return the node that an arrow key leads to: right and left along the arrows, up and down within a column, Home and
 * End to the first and the last one.
 * @param {{edges: readonly {from: number, to: number}[]}} structure
 * @param {Layout} layout
 * @param {number} at the node that has the focus
 * @param {string} key as KeyboardEvent.key
 * @returns {number|null} null: none
 */
export function nodeBeside({ edges }, { corners }, at, key) {
  const own = corners[at];
  if (own === undefined) return null;
  switch (key) {
    case "ArrowRight":
      return nearest(edges.flatMap((edge) => (edge.from === at ? [edge.to] : [])), corners, own);
    case "ArrowLeft":
      return nearest(edges.flatMap((edge) => (edge.to === at ? [edge.from] : [])), corners, own);
    case "ArrowUp":
    case "ArrowDown":
      return nearest(inColumn(corners, at, key === "ArrowUp" ? -1 : 1), corners, own);
    case "Home":
      return corners.length > 0 ? 0 : null;
    case "End":
      return corners.length - 1;
    default:
      return null;
  }
}

/**
 * @param {readonly Point[]} corners
 * @param {number} at
 * @param {number} direction -1: up
 * @returns {number[]} the nodes above or below in the column; where it has none, those of all columns
 */
function inColumn(corners, at, direction) {
  const [x, y] = corners[at] ?? [0, 0];
  const beyond = [...corners.keys()].filter((place) => ((corners[place]?.[1] ?? 0) - y) * direction > 0);
  const near = beyond.filter((place) => Math.abs((corners[place]?.[0] ?? 0) - x) < GAP.column);
  return near.length > 0 ? near : beyond;
}

/**
 * @param {readonly number[]} places
 * @param {readonly Point[]} corners
 * @param {Point} from
 * @returns {number|null}
 */
function nearest(places, corners, [x, y]) {
  let best = null;
  let least = Infinity;
  for (const place of places) {
    const [toX, toY] = corners[place] ?? [0, 0];
    const distance = Math.abs(toX - x) + Math.abs(toY - y);
    if (distance < least) [best, least] = [place, distance];
  }
  return best;
}
