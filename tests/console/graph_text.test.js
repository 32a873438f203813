/** What a graph says of a step, in its box and to a screen reader. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { boxOf, countsOf, planBoxOf, runTime, shortened } from "../../api/console/static/task/graph_text.js";
import { reduceAll } from "../../api/console/static/task/reduce.js";

const AT = Date.parse("2026-11-29T10:00:00Z");

/** Return the steps of the current round after events, each [seconds after the first, type, data]. */
function stepsAfter(...told) {
  const all = [[0, "task.submitted", {}], ...told];
  const events = all.map(([seconds, type, data], place) => ({
    seq: place + 1,
    timestamp: new Date(AT + seconds * 1000).toISOString(),
    type,
    data,
  }));
  const state = reduceAll(events);
  return state.rounds[state.round].steps;
}

const planned = [1, "task.planned", { mode: "client", steps: [
  { step: "a", arm: "coder", depends_on: [] },
  { step: "b", arm: "judge", depends_on: ["a"] },
] }];
const step = (name, more) => ({ step: name, step_id: `id-${name}`, round: 1, arm: "coder", ...more });

test("a running step says how long it has run, over all attempts", () => {
  const { a } = stepsAfter(
    planned,
    [2, "step.started", step("a", { attempt: 1 })],
    [5, "step.retrying", step("a", { attempt: 1, delay_seconds: 1, error: { code: "x", message: "m" }, duration_ms: 3000 })],
    [10, "step.started", step("a", { attempt: 2 })],
  );

  const box = boxOf(a, { now: AT + 12_000, round: 1 });

  assert.equal(box.told, "running · 5.0 s · attempt 2");
  assert.equal(box.label, "a, arm coder, running, attempt 2");
});

test("a step that waits to be tried again says so, and its time stands still", () => {
  const { a } = stepsAfter(
    planned,
    [2, "step.started", step("a", { attempt: 1 })],
    [5, "step.retrying", step("a", { attempt: 1, delay_seconds: 60, error: { code: "x", message: "m" }, duration_ms: 3000 })],
  );

  assert.equal(boxOf(a, { now: AT + 900_000, round: 1 }).told, "queued again · 3.0 s");
});

test("a step that waits for others says for which", () => {
  const { b } = stepsAfter(planned);

  assert.equal(boxOf(b, { now: AT, round: 1 }).label, "b, arm judge, blocked, after a");
  assert.equal(runTime(b, AT), null);
});

test("a step with items counts them, and shows them one by one when it is opened", () => {
  const { a } = stepsAfter(
    planned,
    [2, "step.started", step("a[]", { attempt: 1 })],
    [3, "step.completed", step("a[]", { attempt: 1, duration_ms: 1000 })],
    [3, "step.spread", { step: "a", round: 1, count: 4, reused: 1 }],
    [4, "step.started", step("a[1]", { attempt: 1 })],
    [5, "step.failed", step("a[1]", { attempt: 1, error: { code: "x", message: "m" } })],
    [5, "step.started", step("a[3]", { attempt: 1 })],
  );

  const box = boxOf(a, { now: AT + 8_000, round: 1, isOpen: true });

  assert.equal(box.items, "1/4");
  assert.match(box.label, /1 of 4 items done/);
  assert.equal(runTime(a, AT + 8_000), 6_000);
  assert.deepEqual(box.cells.map(({ name, state }) => `${name} ${state}`), ["a[0] done", "a[1] failed", "a[2] held", "a[3] running"]);
  assert.deepEqual(boxOf(a, { now: AT, round: 1 }).cells, []);
});

test("a step whose result is another's looks reused", () => {
  const { a } = stepsAfter(planned, [2, "step.reused", step("a", { from: { task_id: "task_1", step_id: "x" } })]);

  const box = boxOf(a, { now: AT, round: 1 });

  assert.deepEqual([box.isReused, box.told], [true, "done · reused"]);
  assert.equal(boxOf({ ...a, reused: undefined }, { now: AT, round: 2 }).told, "done · from round 1");
});

test("a group counts its steps by state, the most urgent first", () => {
  const steps = stepsAfter(planned, [2, "step.started", step("a", { attempt: 1 })]);

  assert.deepEqual(countsOf(["b", "a", "gone"], steps), [["running", 1], ["blocked", 2]]);
});

test("a step of a plan says what it does, what it needs and how many faults it has", () => {
  const box = planBoxOf({ id: "fix", arm: "coder", action: "lint", for_each: [], when: {} }, ["one", "two"], ["find"]);

  assert.deepEqual([box.does, box.told], ["coder.lint", "2 faults · for each item · if its condition is met"]);
  assert.equal(box.label, "fix, coder.lint, for each item, if its condition is met, 2 faults, after find");
  assert.equal(planBoxOf({ id: "a", plan: "find-lines" }, [], []).does, "recipe find-lines");
});

test("a long name is shortened, by whole letters", () => {
  assert.equal(shortened("abcdef", 4), "abc…");
  assert.equal(shortened("😀😀😀😀😀", 4), "😀😀😀…");
  assert.equal(shortened("a\n b", 4), "a b");
});
