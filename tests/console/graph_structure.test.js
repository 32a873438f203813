/** What a graph shows: the plan's steps and what flows between them, put together where there are too many. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { MOST_CELLS, MOST_NODES, structureOf } from "../../api/console/static/task/graph_structure.js";
import { edgesOf } from "../../api/console/static/task/plan_edges.js";

const step = (name, arm = "coder") => ({ name, arm });
const after = (from, to) => ({ from, to, carries: [] });

test("references in inputs, loops and conditions are edges that carry values, others only order", () => {
  const plan = [
    { id: "find" },
    { id: "fix", for_each: { $from: "find", pointer: "/matches" }, inputs: { a: [{ b: { $from: "find" } }] } },
    { id: "send", inputs: { file: { $file: { from: "fix", name: "t.csv" } } }, depends_on: ["find", "fix", "gone"] },
    { id: "end", when: { step: "fix", pointer: "/failed", equals: 0, same_as: { step: "send", pointer: "/n" } } },
  ];

  assert.deepEqual(edgesOf(plan), [
    { from: "find", to: "fix", carries: ["", "/matches"] },
    { from: "find", to: "send", carries: [] },
    { from: "fix", to: "send", carries: ["t.csv"] },
    { from: "fix", to: "end", carries: ["/failed"] },
    { from: "send", to: "end", carries: ["/n"] },
  ]);
});

test("what is no plan has no edges", () => {
  for (const odd of [null, 3, [], {}, { id: 3 }, { id: "a", inputs: "x", depends_on: 7, when: [] }, { id: "a", depends_on: ["a", {}] }]) {
    assert.deepEqual(edgesOf([odd, { id: "__proto__", depends_on: ["constructor"] }]), []);
  }
  const deep = JSON.parse('{"x":'.repeat(5_000) + '{"$from":"a"}' + "}".repeat(5_000));
  assert.deepEqual(edgesOf([{ id: "a" }, { id: "b", inputs: deep }]), [{ from: "a", to: "b", carries: [""] }]);
});

test("a value inside of an item or of a reference is none of the plan's references", () => {
  assert.deepEqual(edgesOf([{ id: "a" }, { id: "b", inputs: { x: { $item: "", y: { $from: "a" } } } }]), []);
});

test("each step is a box, also one with an odd name, and arrows to unknown steps are left out", () => {
  const found = structureOf([step("__proto__"), step("b", "judge")], [after("__proto__", "b"), after("b", "gone"), after("b", "b")]);

  assert.deepEqual(found.nodes.map(({ id, arm, depth, names }) => [id, arm, depth, names]), [
    ["step __proto__", "coder", 0, ["__proto__"]],
    ["step b", "judge", 1, ["b"]],
  ]);
  assert.deepEqual(found.edges, [{ from: 0, to: 1, carries: [] }]);
  assert.equal(found.isGrouped, false);
});

test("the shape changes with boxes and arrows only", () => {
  const shape = (steps, edges) => JSON.stringify(structureOf(steps, edges).shape);
  const plain = shape([step("a"), step("b")], [after("a", "b")]);

  assert.equal(shape([step("x"), step("y", "judge")], [{ ...after("x", "y"), carries: ["/n"] }]), plain);
  assert.notEqual(shape([step("a"), step("b")], []), plain);
  assert.notEqual(shape([{ ...step("a"), cells: 5 }, step("b")], [after("a", "b")]), plain);
});

test("a box with a thousand items is not larger than one with the most that are shown", () => {
  const height = (cells) => structureOf([{ ...step("a"), cells }], []).nodes[0].height;

  assert.equal(height(1_000), height(MOST_CELLS));
  assert.ok(height(13) > height(12));
});

test("301 steps are groups by arm and depth, 300 are not", () => {
  const steps = Array.from({ length: MOST_NODES + 1 }, (_, place) => step(`s${place}`, place % 2 ? "coder" : "judge"));
  const edges = steps.slice(1).map(({ name }) => ({ from: "s0", to: name, carries: name === "s1" ? ["/n"] : [] }));

  const found = structureOf(steps, edges);

  assert.deepEqual(found.nodes.map(({ kind, arm, depth, names }) => [kind, arm, depth, names.length]), [
    ["group", "judge", 0, 1],
    ["group", "coder", 1, 150],
    ["group", "judge", 1, 150],
  ]);
  assert.deepEqual(found.edges, [{ from: 0, to: 1, carries: ["/n"] }, { from: 0, to: 2, carries: [] }]);
  assert.equal(structureOf(steps.slice(1), edges).isGrouped, false);
});

test("a chain of a thousand steps is put together by bands of depths", () => {
  const steps = Array.from({ length: 1_000 }, (_, place) => step(`s${place}`));
  const edges = steps.slice(1).map(({ name }, place) => after(`s${place}`, name));

  const found = structureOf(steps, edges);

  assert.ok(found.nodes.length <= MOST_NODES);
  assert.equal(found.nodes.reduce((sum, node) => sum + node.names.length, 0), 1_000);
});

test("ten thousand steps of as many arms, each after all of the last hundred, are a few groups at once", () => {
  const steps = Array.from({ length: 10_000 }, (_, place) => step(`s${place}`, `arm${place}`));
  const edges = steps.flatMap((_, to) =>
    Array.from({ length: Math.min(to, 100) }, (_, back) => after(`s${to - 1 - back}`, `s${to}`)),
  );
  const before = process.cpuUsage();

  const found = structureOf(steps, edges);

  assert.ok(found.nodes.length > 0 && found.nodes.length <= MOST_NODES);
  assert.equal(found.nodes[0].arm, "several arms");
  assert.ok(process.cpuUsage(before).user < 10_000_000);
});

test("where there are too many arrows, those that others imply are left out, and how many is told", () => {
  const steps = Array.from({ length: 100 }, (_, place) => step(`s${place}`));
  const edges = steps.flatMap((_, to) => Array.from({ length: to }, (_, from) => after(`s${from}`, `s${to}`)));

  const found = structureOf(steps, edges);

  assert.equal(found.edges.length, 99);
  assert.equal(found.leftOut, edges.length - 99);
  const carrying = structureOf(steps, edges.map((edge) => ({ ...edge, carries: [""] })));
  assert.equal(carrying.edges.length, 1_500);
});
