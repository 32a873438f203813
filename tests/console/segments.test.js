import assert from "node:assert/strict";
import { test } from "node:test";

import { barsOf, lengthOf } from "../../api/console/static/task/segments.js";
import { BEGIN, done, planned, story } from "./story.js";

/** @param {import("../../api/console/static/task/segments.js").Bar[]} bars */
const told = (bars) =>
  bars.map((bar) => [
    `${bar.attempt} ${bar.outcome}`,
    ...bar.segments.map(({ kind, from, to }) => `${kind} ${from - BEGIN}-${to === null ? "" : to - BEGIN}`),
  ]);
/**
 * @param {import("../../api/console/static/task/reduce.js").State} state
 * @param {string} step
 */
const barsIn = (state, step) =>
  barsOf(state.rounds[1].steps[step], {
    asked: Object.values(state.approvals).filter((one) => one.step === step),
    since: state.rounds[1].startedAt,
    until: state.endedAt,
  });

test("a step was blocked, then waited for a slot, then for a worker, then it ran", () => {
  const state = story(...planned({ a: [], b: ["a"] }), ...done("a", [200, 250, 1000]), ...done("b", [1400, 2000, 2500]));

  assert.deepEqual(told(barsIn(state, "b")), [
    ["1 done", "blocked 200-1000", "slot 1000-1400", "queue 1400-2000", "run 2000-2500"],
  ]);
});

test("a failed attempt is followed by the wait for the next one; the queue after it belongs to the next one", () => {
  const state = story(
    ...planned({ a: [] }),
    [200, "step.queued", { step: "a" }],
    [300, "step.started", { step: "a", attempt: 1 }],
    [500, "step.retrying", { step: "a", attempt: 1, delay_seconds: 1.5, error: { code: "busy", message: "busy" } }],
    [2400, "step.started", { step: "a", attempt: 2 }],
    [2600, "step.completed", { step: "a", attempt: 2, duration_ms: 200 }],
  );

  const bars = barsIn(state, "a");

  assert.deepEqual(told(bars), [
    ["1 retried", "queue 200-300", "run 300-500", "retry 500-2000"],
    ["2 done", "queue 2000-2400", "run 2400-2600"],
  ]);
  assert.deepEqual([bars[0].error?.code, bars[0].from - BEGIN, bars[0].to], ["busy", 200, BEGIN + 2000]);
});

test("a step whose worker died is queued again without a wait for a retry", () => {
  const state = story(
    ...planned({ a: [] }),
    [200, "step.queued", { step: "a" }],
    [300, "step.started", { step: "a", attempt: 1 }],
    [900, "step.retrying", { step: "a", attempt: 1, reason: "worker_lost" }],
    [1000, "step.started", { step: "a", attempt: 2 }],
  );

  assert.deepEqual(told(barsIn(state, "a")), [
    ["1 worker_lost", "queue 200-300", "run 300-900"],
    ["2 null", "queue 900-1000", "run 1000-"],
  ]);
});

test("a person's decision is a wait of its own, while it lasts and afterwards", () => {
  const asked = [
    ...planned({ a: [] }),
    [210, "approval.requested", { step: "a", approval_id: "appr_1", kind: "approval" }],
  ];
  const decided = [
    [7_200_210, "approval.decided", { step: "a", approval_id: "appr_1", state: "approved" }],
    [7_200_250, "step.started", { step: "a", attempt: 1 }],
    [7_200_300, "step.completed", { step: "a", attempt: 1 }],
  ];

  assert.deepEqual(told(barsIn(story(...asked), "a")), [["1 null", "slot 200-210", "approval 210-"]]);
  assert.deepEqual(told(barsIn(story(...asked, ...decided), "a")), [
    ["1 done", "slot 200-210", "approval 210-7200210", "queue 7200210-7200250", "run 7200250-7200300"],
  ]);
});

test("what waits when the task ends, ends with it; what never began has no bar", () => {
  const state = story(
    ...planned({ a: [], b: ["a"], c: ["b"] }),
    [200, "step.queued", { step: "a" }],
    [300, "step.started", { step: "a", attempt: 1 }],
    [900, "step.failed", { step: "a", attempt: 1, was: "running" }],
    [900, "task.cancelled"],
  );

  assert.deepEqual(told(barsIn(state, "a")), [["1 cancelled", "queue 200-300", "run 300-900"]]);
  assert.deepEqual(told(barsIn(state, "b")), []);
});

test("a skipped and a reused step are moments without segments", () => {
  const state = story(
    ...planned({ a: [], b: [] }),
    [200, "step.reused", { step: "a", from: { task_id: "task_1", step_id: "x" } }],
    [400, "step.skipped", { step: "b", reason: "an earlier step failed" }],
  );

  const bars = [...barsIn(state, "a"), ...barsIn(state, "b")];

  assert.deepEqual(told(bars).map((bar) => bar[0]), ["1 reused", "1 skipped"]);
});

test("the length of a segment that lasts grows with the time, and is never negative", () => {
  assert.equal(lengthOf({ kind: "run", from: 1000, to: null }, 1750), 750);
  assert.equal(lengthOf({ kind: "run", from: 1000, to: null }, 900), 0);
  assert.equal(lengthOf({ kind: "run", from: 1000, to: 1300 }, 9000), 300);
});
