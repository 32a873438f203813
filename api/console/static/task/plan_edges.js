/**
 * What flows between the steps of a plan: the references in their inputs, loops and conditions, as
 * orchestrator.planner.references reads them. A plan may be anything; what is not well-formed has no edges.
 */

import { list, object, text } from "./payload.js";

const MOST_VALUES = 50_000;

/**
 * @typedef {object} Edge
 * @property {string} from the step that comes first
 * @property {string} to
 * @property {string[]|null} carries the parts of its output that the other reads: pointers and names of files, "" is all
 *   of it; empty: only the order counts; null: not known
 */

/**
 * Return the edges between the steps of a plan, each pair once; names of other steps are left out.
 * @param {readonly any[]} steps of a plan: {id, depends_on, inputs, with, for_each, when}
 * @returns {Edge[]}
 */
export function edgesOf(steps) {
  const known = new Set(steps.map((step) => text(object(step).id)));
  return steps.flatMap((step) => {
    const to = text(object(step).id);
    if (to === null) return [];
    return [...sourcesOf(step)]
      .filter(([from]) => known.has(from) && from !== to)
      .map(([from, carries]) => ({ from, to, carries: [...carries].sort() }));
  });
}

/**
 * @param {readonly Edge[]} edges
 * @returns {Map<string, Edge[]>} those that lead to each step
 */
export function edgesByTarget(edges) {
  /** @type {Map<string, Edge[]>} */
  const found = new Map();
  for (const edge of edges) {
    const known = found.get(edge.to);
    if (known) known.push(edge);
    else found.set(edge.to, [edge]);
  }
  return found;
}

/**
 * Return what a step reads of each step that it needs.
 * @param {any} step
 * @returns {Map<string, Set<string>>}
 */
export function sourcesOf(step) {
  const { depends_on: after, inputs, with: values, for_each: items, when } = object(step);
  /** @type {Map<string, Set<string>>} */
  const found = new Map(list(after).filter((name) => text(name) !== null).map((name) => [name, new Set()]));
  const add = (/** @type {string|null} */ name, /** @type {string} */ part) => {
    if (name === null) return;
    const parts = found.get(name) ?? new Set();
    found.set(name, parts.add(part));
  };
  for (const reference of referencesIn([inputs, values, items])) {
    const file = reference.$file;
    if (file === undefined) add(text(reference.$from), text(reference.pointer) ?? "");
    else add(text(object(file).from), text(object(file).name) ?? "");
  }
  for (const place of [when, object(when).same_as]) {
    add(text(object(place).step), text(object(place).pointer) ?? "");
  }
  return found;
}

/**
 * Yield the references at any depth of a value; at most the first MOST_VALUES values are searched.
 * @param {unknown} value
 * @returns {Generator<Record<string, any>>}
 */
function* referencesIn(value) {
  const waiting = [value];
  for (let seen = 0; waiting.length > 0 && seen < MOST_VALUES; seen += 1) {
    const node = waiting.pop();
    if (node === null || typeof node !== "object") continue;
    const members = /** @type {Record<string, any>} */ (node);
    if (Object.hasOwn(members, "$from") || Object.hasOwn(members, "$file")) yield members;
    else if (!Object.hasOwn(members, "$item")) waiting.push(...Object.values(members).slice(0, MOST_VALUES));
  }
}
