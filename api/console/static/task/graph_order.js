/** The order of a graph whose nodes are numbers: depths, and what is implied. A circle is cut where it closes. */

/** @typedef {{from: number, to: number}} Arrow */

/**
 * Return how many nodes are at most on a path to each node; arrows that close a circle don't count.
 * @param {number} count
 * @param {readonly {from: number, to: number}[]} edges
 * @returns {number[]}
 */
export function depthsOf(count, edges) {
  const after = followersOf(count, edges);
  const depths = new Array(count).fill(0);
  const { order, closing } = sourcesFirst(after);
  for (const place of order) {
    for (const next of after[place] ?? []) {
      if (!closing.has(place * count + next)) depths[next] = Math.max(depths[next], depths[place] + 1);
    }
  }
  return depths;
}

/**
 * @param {number} count
 * @param {readonly {from: number, to: number}[]} edges
 * @returns {number[][]}
 */
function followersOf(count, edges) {
  /** @type {number[][]} */
  const after = Array.from({ length: count }, () => []);
  for (const { from, to } of edges) after[from]?.push(to);
  return after;
}

/**
 * Return the nodes so that each comes before those after it, but for arrows that close a circle.
 * @param {number[][]} after
 * @returns {{order: number[], closing: Set<number>}} closing: from * count + to
 */
function sourcesFirst(after) {
  const closing = new Set();
  const finished = [];
  // 0: not seen, 1: on the way, 2: finished
  const marks = new Uint8Array(after.length);
  for (let root = 0; root < after.length; root += 1) {
    if (marks[root] !== 0) continue;
    const stack = [{ place: root, next: 0 }];
    marks[root] = 1;
    while (stack.length > 0) {
      const top = /** @type {{place: number, next: number}} */ (stack.at(-1));
      const target = after[top.place]?.[top.next];
      top.next += 1;
      if (target === undefined) {
        marks[top.place] = 2;
        finished.push(top.place);
        stack.pop();
      } else if (marks[target] === 1) {
        closing.add(top.place * after.length + target);
      } else if (marks[target] === 0) {
        marks[target] = 1;
        stack.push({ place: target, next: 0 });
      }
    }
  }
  return { order: finished.reverse(), closing };
}

/**
 * Return the places of the edges that a longer way between the same nodes implies.
 * @param {number} count
 * @param {readonly Arrow[]} edges
 * @returns {Set<number>}
 */
export function impliedEdges(count, edges) {
  const after = followersOf(count, edges);
  const words = Math.ceil(count / 32);
  const reached = reachOf(after, words);
  const found = new Set();
  for (const [place, { from, to }] of edges.entries()) {
    const [word, bit] = [to >>> 5, 1 << (to & 31)];
    const isImplied = after[from]?.some(
      (next) => next !== to && ((reached[next * words + word] ?? 0) & bit) !== 0,
    );
    if (isImplied) found.add(place);
  }
  return found;
}

/**
 * @param {number[][]} after
 * @param {number} words of 32 bits that a row of the result has
 * @returns {Uint32Array} a row for each node: one bit for each node that a way leads to
 */
function reachOf(after, words) {
  const reached = new Uint32Array(after.length * words);
  const { order, closing } = sourcesFirst(after);
  for (const place of order.reverse()) {
    for (const next of after[place] ?? []) {
      if (closing.has(place * after.length + next)) continue;
      const own = place * words;
      reached[own + (next >>> 5)] = (reached[own + (next >>> 5)] ?? 0) | (1 << (next & 31));
      for (let word = 0; word < words; word += 1) {
        reached[own + word] = (reached[own + word] ?? 0) | (reached[next * words + word] ?? 0);
      }
    }
  }
  return reached;
}
