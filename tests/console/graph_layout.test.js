/** A graph's layout: boxes apart from each other, arrows to the right, in a bounded time for any plan. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { layoutOf, nodeBeside, pathOf } from "../../api/console/static/task/graph_layout.js";
import { depthsOf, impliedEdges } from "../../api/console/static/task/graph_order.js";
import { dagre } from "../../api/console/static/vendor.js";

const SIZE = /** @type {[number, number]} */ ([100, 40]);

function shapeOf(count, edges) {
  return { sizes: Array.from({ length: count }, () => SIZE), edges };
}

function requireApart({ sizes }, { corners }) {
  for (const [one, [x, y]] of corners.entries()) {
    for (const [other, [otherX, otherY]] of corners.entries()) {
      if (other <= one) continue;
      const isApart =
        Math.abs(x - otherX) >= Math.min(sizes[one][0], sizes[other][0]) ||
        Math.abs(y - otherY) >= Math.min(sizes[one][1], sizes[other][1]);
      assert.ok(isApart, `${one} and ${other} overlap`);
    }
  }
}

const DIAMOND = shapeOf(4, [[0, 1], [0, 2], [1, 3], [2, 3]]);

test("an arrow that passes above the boxes is inside of the picture", () => {
  // a fan whose first step also leads to the last one
  const shape = shapeOf(6, [[0, 1], [0, 2], [0, 3], [1, 4], [2, 4], [3, 4], [0, 4], [4, 5], [0, 5]]);

  const { lines, width, height } = layoutOf(dagre, shape);

  assert.ok(lines.flat().every(([x, y]) => x >= 0 && y >= 0 && x <= width && y <= height));
});

for (const [name, library] of [["dagre", dagre], ["columns", null]]) {
  test(`with ${name}, a step stands right of those it follows and on no other`, () => {
    const layout = layoutOf(library, DIAMOND);

    for (const [from, to] of DIAMOND.edges) assert.ok(layout.corners[to][0] >= layout.corners[from][0] + SIZE[0]);
    requireApart(DIAMOND, layout);
    assert.ok(layout.corners.every(([x, y]) => x >= 0 && y >= 0 && x + 100 <= layout.width && y + 40 <= layout.height));
  });

  test(`with ${name}, an arrow begins at the right of its source and ends at the left of its target`, () => {
    const { corners, lines } = layoutOf(library, DIAMOND);

    assert.deepEqual(lines[3][0], [corners[2][0] + 100, corners[2][1] + 20]);
    assert.deepEqual(lines[3].at(-1), [corners[3][0], corners[3][1] + 20]);
  });

  test(`with ${name}, a circle is drawn`, () => {
    const ring = shapeOf(3, [[0, 1], [1, 2], [2, 0]]);

    requireApart(ring, layoutOf(library, ring));
  });

  test(`with ${name}, nothing and a step alone are drawn`, () => {
    assert.deepEqual(layoutOf(library, shapeOf(0, [])).corners, []);
    assert.equal(layoutOf(library, shapeOf(1, [])).corners.length, 1);
  });
}

test("boxes of different heights do not overlap", () => {
  const shape = { sizes: [[100, 40], [100, 200], [100, 40], [100, 90]], edges: [[0, 1], [0, 2], [0, 3]] };

  requireApart(shape, layoutOf(dagre, shape));
  requireApart(shape, layoutOf(null, shape));
});

test("a plan in which every step follows every earlier one is laid out in columns at once", () => {
  const edges = Array.from({ length: 200 }, (_, to) => Array.from({ length: to }, (_, from) => [from, to])).flat();
  const before = process.cpuUsage();

  const layout = layoutOf(dagre, shapeOf(200, edges));

  assert.ok(process.cpuUsage(before).user < 5_000_000);
  assert.equal(layout.lines.length, 19_900);
});

test("depths are those of the longest way, and a circle has an end", () => {
  assert.deepEqual(depthsOf(4, [{ from: 0, to: 1 }, { from: 1, to: 2 }, { from: 0, to: 2 }]), [0, 1, 2, 0]);
  assert.deepEqual(depthsOf(2, [{ from: 0, to: 1 }, { from: 1, to: 0 }]), [0, 1]);
});

test("a chain of ten thousand steps needs no deep recursion", () => {
  const edges = Array.from({ length: 9_999 }, (_, from) => ({ from, to: from + 1 }));

  assert.equal(depthsOf(10_000, edges).at(-1), 9_999);
});

test("an arrow is implied by a longer way, not by itself", () => {
  const edges = [{ from: 0, to: 1 }, { from: 1, to: 2 }, { from: 0, to: 2 }, { from: 0, to: 3 }];

  assert.deepEqual([...impliedEdges(4, edges)], [2]);
  assert.deepEqual([...impliedEdges(40, [{ from: 38, to: 39 }, { from: 39, to: 1 }, { from: 38, to: 1 }])], [2]);
});

test("the way of an arrow goes through its points", () => {
  assert.equal(pathOf([[0, 0], [10, 20]]), "M0 0C5 0 5 20 10 20");
  assert.equal(pathOf([]), "");
});

test("arrow keys walk along the arrows and within a column", () => {
  const edges = DIAMOND.edges.map(([from, to]) => ({ from, to }));
  const layout = layoutOf(null, DIAMOND);
  const walk = (at, key) => nodeBeside({ edges }, layout, at, key);

  assert.equal(walk(0, "ArrowRight"), 1);
  assert.equal(walk(1, "ArrowDown"), 2);
  assert.equal(walk(2, "ArrowUp"), 1);
  assert.equal(walk(1, "ArrowRight"), 3);
  assert.equal(walk(3, "ArrowLeft"), 1);
  assert.equal(walk(3, "ArrowRight"), null);
  assert.equal(walk(1, "Home"), 0);
  assert.equal(walk(1, "End"), 3);
  assert.equal(walk(1, "Enter"), null);
});
