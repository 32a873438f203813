/**
 * Which boxes and arrows a graph of steps has. It depends on the plan and on what the reader opened, never on states:
 * a graph with the same shape needs no new layout.
 */

import { depthsOf, impliedEdges } from "./graph_order.js";

/** A picture of more boxes than this can't be read: steps are put together then. */
export const MOST_NODES = 300;
const MANY_EDGES = 600;
const MOST_EDGES = 1500;
const STEP = { width: 196, height: 62 };
const GROUP = { width: 196, height: 76 };
const CELL = 15;
const CELLS_A_ROW = 12;
/** How many items of a step are shown one by one. */
export const MOST_CELLS = 96;

/**
 * @typedef {import("./plan_edges.js").Edge} Edge
 *
 * @typedef {object} GraphStep
 * @property {string} name
 * @property {string} arm
 * @property {number} [cells] how many items are shown in its box
 *
 * @typedef {object} Node
 * @property {string} id
 * @property {"step"|"group"} kind
 * @property {string} arm
 * @property {number} depth how many steps come before it at most
 * @property {string[]} names its steps
 * @property {number} width
 * @property {number} height
 *
 * @typedef {object} Structure
 * @property {Node[]} nodes
 * @property {{from: number, to: number, carries: string[]|null}[]} edges between the nodes at these places
 * @property {number} leftOut arrows that are not drawn, because there are too many
 * @property {boolean} isGrouped
 * @property {Shape} shape
 *
 * @typedef {object} Shape what a layout depends on
 * @property {[number, number][]} sizes width and height of each node
 * @property {[number, number][]} edges
 */

/**
 * Return the boxes and arrows of steps. Names in `edges` that are no steps are left out.
 * @param {readonly GraphStep[]} steps with different names
 * @param {readonly Edge[]} edges
 * @returns {Structure}
 */
export function structureOf(steps, edges) {
  const places = new Map(steps.map((step, place) => [step.name, place]));
  const known = edges.flatMap(({ from, to, carries }) => {
    const [source, target] = [places.get(from), places.get(to)];
    return source === undefined || target === undefined || source === target
      ? []
      : [{ from: source, to: target, carries }];
  });
  const depths = depthsOf(steps.length, known);
  const isGrouped = steps.length > MOST_NODES;
  const { nodes, nodeOf } = isGrouped ? groups(steps, depths) : singles(steps, depths);
  const joined = isGrouped ? joinedEdges(known, nodeOf) : known;
  const drawn = drawnEdges(nodes.length, joined);
  return {
    nodes,
    edges: drawn,
    leftOut: joined.length - drawn.length,
    isGrouped,
    shape: {
      sizes: nodes.map((node) => [node.width, node.height]),
      edges: drawn.map((edge) => [edge.from, edge.to]),
    },
  };
}

/**
 * @param {readonly GraphStep[]} steps
 * @param {number[]} depths
 * @returns {{nodes: Node[], nodeOf: number[]}}
 */
function singles(steps, depths) {
  const nodes = steps.map((step, place) => ({
    id: `step ${step.name}`,
    kind: /** @type {const} */ ("step"),
    arm: step.arm,
    depth: depths[place] ?? 0,
    names: [step.name],
    width: STEP.width,
    height: STEP.height + cellRows(step.cells ?? 0) * CELL + (step.cells ? 6 : 0),
  }));
  return { nodes, nodeOf: steps.map((_, place) => place) };
}

/**
 * @param {number} cells
 * @returns {number}
 */
function cellRows(cells) {
  return Math.ceil(Math.min(cells, MOST_CELLS) / CELLS_A_ROW);
}

/**
 * Return where an item's cell is in its step's box.
 * @param {number} index
 * @returns {{x: number, y: number, size: number}} from the corner of the box
 */
export function cellPlace(index) {
  return {
    x: 8 + (index % CELLS_A_ROW) * CELL,
    y: STEP.height + Math.floor(index / CELLS_A_ROW) * CELL,
    size: CELL - 3,
  };
}

/**
 * Put steps together that have one arm and one depth; where that is not enough, neighbouring depths too, and then arms.
 * @param {readonly GraphStep[]} steps
 * @param {number[]} depths
 * @returns {{nodes: Node[], nodeOf: number[]}}
 */
function groups(steps, depths) {
  for (const arms of [steps.map((step) => step.arm), steps.map(() => "several arms")]) {
    for (let band = 1; band < 2 * steps.length; band *= 2) {
      const found = groupsOf(steps, arms, depths.map((depth) => Math.floor(depth / band) * band));
      if (found.nodes.length <= MOST_NODES) return found;
    }
  }
  throw new Error("unreachable: one band without arms is one group");
}

/**
 * @param {readonly GraphStep[]} steps
 * @param {string[]} arms
 * @param {number[]} bands
 * @returns {{nodes: Node[], nodeOf: number[]}}
 */
function groupsOf(steps, arms, bands) {
  /** @type {Map<string, number>} */
  const known = new Map();
  /** @type {Node[]} */
  const nodes = [];
  const nodeOf = steps.map((step, place) => {
    const [arm = "", depth = 0] = [arms[place], bands[place]];
    const id = `group ${depth} ${arm}`;
    const at = known.get(id) ?? nodes.length;
    if (at === nodes.length) {
      known.set(id, at);
      nodes.push({ id, kind: "group", arm, depth, names: [], ...GROUP });
    }
    nodes[at]?.names.push(step.name);
    return at;
  });
  return { nodes, nodeOf };
}

/**
 * Return the edges between groups: a value flows if it does between any two of their steps.
 * @param {Structure["edges"]} edges
 * @param {number[]} nodeOf
 * @returns {Structure["edges"]}
 */
function joinedEdges(edges, nodeOf) {
  /** @type {Map<string, Structure["edges"][number]>} */
  const found = new Map();
  for (const edge of edges) {
    const [from, to] = [nodeOf[edge.from] ?? 0, nodeOf[edge.to] ?? 0];
    if (from === to) continue;
    const key = `${from} ${to}`;
    const carries = stronger(found.get(key)?.carries, edge.carries);
    found.set(key, { from, to, carries });
  }
  return [...found.values()];
}

/**
 * @param {string[]|null|undefined} one
 * @param {string[]|null} other
 * @returns {string[]|null} the one that carries a value; else the one of which that is not known
 */
function stronger(one, other) {
  if (one?.length) return one;
  if (other?.length || one === undefined) return other;
  return one === null || other === null ? null : one;
}

/**
 * Leave out arrows where there are too many: first those of order that others imply, then the last ones.
 * @param {number} count
 * @param {Structure["edges"]} edges
 * @returns {Structure["edges"]}
 */
function drawnEdges(count, edges) {
  if (edges.length <= MANY_EDGES) return edges;
  const implied = impliedEdges(count, edges);
  return edges.filter((edge, place) => edge.carries?.length || !implied.has(place)).slice(0, MOST_EDGES);
}
