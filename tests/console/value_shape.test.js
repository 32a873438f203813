// How a value is shown: as a table, a diff, a tree; and where a quote is in it.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  diffLines,
  pointerOfQuote,
  shapeOf,
  sideBySide,
  sortedBy,
  tableOf,
  treeRows,
  valueAt,
} from "../../api/console/static/parts/value_shape.js";

const DIFF = "--- a/x.py\n+++ b/x.py\n@@ -3,3 +3,4 @@\n same\n-old\n+new\n+newer\n end\n";

test("the shape of a value says how it is shown", () => {
  assert.equal(shapeOf([{ a: 1 }, { b: 2 }]), "table");
  assert.equal(shapeOf({ columns: ["a"], rows: [[1]] }), "table");
  assert.equal(shapeOf([1, { a: 1 }]), "tree");
  assert.equal(shapeOf([]), "tree");
  assert.equal(shapeOf(DIFF), "diff");
  assert.equal(shapeOf("one\ntwo"), "text");
  assert.equal(shapeOf("short"), "plain");
  assert.equal(shapeOf(null), "plain");
});

test("a table has all columns of its records, and those of columns and rows", () => {
  assert.deepEqual(tableOf([{ a: 1 }, { a: 2, b: "x" }]), { columns: ["a", "b"], rows: [[1, undefined], [2, "x"]], total: 2 });
  assert.deepEqual(tableOf({ columns: ["n"], rows: [{ n: 1, other: 2 }] }), { columns: ["n"], rows: [[1]], total: 1 });
  assert.equal(tableOf({ columns: ["n"], rows: ["x"] }), null);
});

test("rows are sorted by number or by text, and what is missing comes last", () => {
  const rows = [[10], [null], [9], [2]];
  assert.deepEqual(sortedBy(rows, 0, "ascending"), [[2], [9], [10], [null]]);
  assert.deepEqual(sortedBy(rows, 0, "descending"), [[10], [9], [2], [null]]);
});

test("a diff's lines have their numbers in both files, and old stands beside new", () => {
  const lines = diffLines(DIFF);
  assert.deepEqual(lines.map((line) => [line.kind, line.before, line.after]), [
    ["file", null, null],
    ["file", null, null],
    ["hunk", null, null],
    ["same", 3, 3],
    ["remove", 4, null],
    ["add", null, 4],
    ["add", null, 5],
    ["same", 5, 6],
  ]);
  const pairs = sideBySide(lines).slice(4, 6);
  assert.deepEqual(pairs.map(([one, other]) => [one?.text ?? null, other?.text ?? null]), [["old", "new"], [null, "newer"]]);
});

test("a removed line that looks like a file's head stays a line of its hunk", () => {
  const lines = diffLines("--- a/q.sql\n+++ b/q.sql\n@@ -1,2 +1 @@\n--- a comment\n same\n");
  assert.equal(lines.at(-1)?.kind, "same");
});

test("a tree shows so many rows and says that there are more", () => {
  const { rows, more } = treeRows({ list: Array.from({ length: 5000 }, (_, n) => n) }, { isOpen: () => true, limit: 1000 });
  assert.equal(rows.length, 1000);
  assert.equal(more, true);
  assert.deepEqual(rows.slice(1, 3).map((row) => [row.path, row.size]), [["/list", 5000], ["/list/0", null]]);
  const closed = treeRows({ a: { b: 1 } }, { isOpen: (_, depth) => depth < 1, limit: 1000 });
  assert.deepEqual(closed.rows.map((row) => row.path), ["", "/a"]);
  assert.equal(closed.more, false);
});

test("a pointer leads to its value, never to what an object inherits", () => {
  assert.equal(valueAt({ "a/b": [{ "~": 1 }] }, "/a~1b/0/~0"), 1);
  assert.equal(valueAt({}, "/constructor"), undefined);
  assert.equal(pointerOfQuote({ a: ["x", "say hello there"] }, "hello"), "/a/1");
  assert.equal(pointerOfQuote({ a: "x" }, "y"), null);
});
