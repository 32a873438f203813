import assert from "node:assert/strict";
import { test } from "node:test";

import { lookOf, ordered } from "../../api/console/static/task/waiting_order.js";

/** @param {string} kind @param {string | null} step */
const said = (kind, step) => ({ kind, step_id: step, text: kind, until: null, by: null, arm: null, approval_id: null });

test("what needs somebody comes first, and within a kind the API's order stays", () => {
  const given = [
    said("task", null),
    said("approval", "d"),
    said("running", "c"),
    said("worker", "b"),
    said("dependency", "z"),
    said("worker", "a"),
  ];

  const { task, steps } = ordered(given);

  assert.equal(task?.kind, "task");
  assert.deepEqual(
    steps.map((one) => one.step_id),
    ["b", "a", "d", "c", "z"],
  );
});

test("an ended task has no sentence", () => {
  assert.deepEqual(ordered([]), { task: null, steps: [] });
});

test("a kind of a later release is shown by its name", () => {
  assert.deepEqual(lookOf("weather"), [12, "idle", "•", "weather"]);
  assert.deepEqual(lookOf("constructor")[3], "constructor");
});
