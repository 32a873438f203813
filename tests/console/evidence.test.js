// What an entry of evidence names, and the path from a verdict down in the address.
import assert from "node:assert/strict";
import { test } from "node:test";

import { placeOf, readWhy, writeWhy } from "../../api/console/static/task/evidence.js";

const STEPS = new Set(["find", "sum"]);
const seen = (/** @type {any} */ entry, step = /** @type {string|null} */ (null)) => {
  const { step: name, pointer, quote } = placeOf(entry, { step }, STEPS);
  return [name, pointer, quote];
};

test("a rule's place is a step and a pointer into its output", () => {
  assert.deepEqual(seen({ place: "find:/matches/0", value: "1" }), ["find", "/matches/0", null]);
  assert.deepEqual(seen({ place: "find:/", value: "{}" }), ["find", "", null]);
  assert.deepEqual(seen({ place: "find:/a:b", value: "1" }), ["find", "/a:b", null]);
});

test("a place in the result is in a last step's output where the pointer begins with it", () => {
  assert.deepEqual(seen({ place: "result:/sum/total", value: "1" }), ["sum", "/total", null]);
  assert.deepEqual(seen({ place: "result:/total", value: "1" }), [null, "/total", null]);
});

test("a quote is in the output of the step that it names", () => {
  assert.deepEqual(seen({ step: "find", quote: "its words" }), ["find", null, "its words"]);
});

test("what names no step belongs to the finding's own step", () => {
  assert.deepEqual(seen({ items: [1, 2] }, "sum"), ["sum", null, null]);
  assert.deepEqual(seen("odd", "sum"), ["sum", null, null]);
  assert.equal(placeOf({ model: "openai:x" }, { step: "sum" }, STEPS).step, null);
});

test("the path in the address is read as it was written", () => {
  const at = { criterion: 2, evidence: 0, attempt: 1, call: 170000000001 };
  assert.equal(writeWhy(at), "c2.e0.a1.m170000000001");
  assert.deepEqual(readWhy(writeWhy(at)), at);
  assert.equal(writeWhy({}), null);
  assert.deepEqual(readWhy("nonsense"), { criterion: null, evidence: null, attempt: null, call: null });
});
