import assert from "node:assert/strict";
import { test } from "node:test";

import { criticalPath, pathInWords } from "../../api/console/static/task/critical_path.js";
import { BEGIN, done, plan, planned, story } from "./story.js";

/**
 * @param {import("../../api/console/static/task/reduce.js").State} state
 * @param {number} [now]
 */
const legs = (state, now = 0) =>
  criticalPath(state, BEGIN + now).legs.map(
    ({ step, round, attempt, kind, from, to }) => `${step}/${round}#${attempt} ${kind} ${from - BEGIN}-${to - BEGIN}`,
  );
const PLANNER = ["$plan/1#1 queue 0-100", "$plan/1#1 run 100-200"];

test("of two branches that join, the one that ended last is on the path", () => {
  const state = story(
    ...planned({ quick: [], slow: [], join: ["quick", "slow"] }),
    ...done("quick", [200, 210, 300]),
    ...done("slow", [200, 400, 3400]),
    ...done("join", [3400, 3450, 3500]),
    ...done("$judge", [3500, 3510, 3600]),
    [3600, "task.completed"],
  );

  assert.deepEqual(legs(state), [
    ...PLANNER,
    ...["slow/1#1 queue 200-400", "slow/1#1 run 400-3400", "join/1#1 queue 3400-3450", "join/1#1 run 3450-3500"],
    ...["$judge/1#1 queue 3500-3510", "$judge/1#1 run 3510-3600"],
  ]);
});

test("retries and their waits are on the path, and it has no hole", () => {
  const state = story(
    ...planned({ a: [] }),
    [200, "step.queued", { step: "a" }],
    [250, "step.started", { step: "a", attempt: 1 }],
    [500, "step.retrying", { step: "a", attempt: 1, delay_seconds: 2, error: { code: "busy", message: "" } }],
    [2600, "step.started", { step: "a", attempt: 2 }],
    [3000, "step.completed", { step: "a", attempt: 2 }],
    ...done("$judge", [3000, 3100, 3200]),
    [3200, "task.completed"],
  );

  const path = criticalPath(state, 0);

  assert.deepEqual(legs(state).slice(2, 7), [
    ...["a/1#1 queue 200-250", "a/1#1 run 250-500", "a/1#1 retry 500-2500", "a/1#2 queue 2500-2600", "a/1#2 run 2600-3000"],
  ]);
  assert.equal(path.total, 3200);
  for (const [index, leg] of path.legs.slice(1).entries()) assert.equal(leg.from, path.legs[index].to);
});

test("a repair goes from the judge of the round before to the step that ran again; a kept step is not on the path", () => {
  const state = story(
    ...planned({ kept: [], faulty: ["kept"] }),
    ...done("kept", [200, 210, 2000]),
    ...done("faulty", [2000, 2010, 2100]),
    ...done("$judge", [2100, 2110, 2200]),
    [2205, "task.repair", { round: 2, kept: ["kept"], reruns: ["faulty"] }],
    ...done("faulty", [2205, 2300, 2900], { round: 2 }),
    ...done("$judge", [2900, 2910, 3000], { round: 2 }),
    [3000, "task.completed"],
  );

  assert.deepEqual(legs(state).slice(-6), [
    ...["$judge/1#1 queue 2100-2110", "$judge/1#1 run 2110-2200", "faulty/2#1 queue 2205-2300", "faulty/2#1 run 2300-2900"],
    ...["$judge/2#1 queue 2900-2910", "$judge/2#1 run 2910-3000"],
  ]);
});

test("a plan that is made again is on the path with the round that it makes", () => {
  const state = story(
    ...planned({ a: [] }),
    ...done("a", [200, 210, 300]),
    ...done("$judge", [300, 310, 400]),
    [400, "task.replan", { reason: "wrong" }],
    [450, "step.started", { step: "$plan", attempt: 1, kind: "plan" }],
    [900, "task.planned", plan({ b: [] }, { round: 2 })],
    ...done("b", [900, 910, 1000], { round: 2 }),
    ...done("$judge", [1000, 1010, 1100], { round: 2 }),
    [1100, "task.completed"],
  );

  assert.ok(legs(state).includes("$plan/2#1 run 450-900"), legs(state).join(", "));
  assert.ok(legs(state).includes("$judge/1#1 run 310-400"));
  assert.equal(legs(state)[0], PLANNER[0]);
});

test("a step that began early does not hide that the next one had to wait for the plan", () => {
  const state = story(
    [0, "task.submitted"],
    [10, "step.started", { step: "$plan", attempt: 1, round: 0 }],
    ...done("early", [100, 110, 150], { round: 0 }),
    [900, "task.planned", plan({ early: [], next: ["early"] }, { early: { early: "done" } })],
    ...done("next", [900, 910, 1000]),
    ...done("$judge", [1000, 1000, 1100]),
    [1100, "task.completed"],
  );

  assert.deepEqual(legs(state), [
    ...["$plan/1#1 queue 0-10", "$plan/1#1 run 10-900", "next/1#1 queue 900-910", "next/1#1 run 910-1000"],
    "$judge/1#1 run 1000-1100",
  ]);
});

test("of a step with items the path goes through the list and the item that ended last", () => {
  const state = story(
    [0, "task.submitted"],
    [100, "step.started", { step: "$plan", attempt: 1, round: 0 }],
    [200, "task.planned", { steps: [{ step: "fix", arm: "executor", depends_on: [], for_each: true }] }],
    ...done("fix[]", [200, 210, 230]),
    [230, "step.spread", { step: "fix", count: 2, reused: 0 }],
    ...done("fix[0]", [230, 240, 300]),
    ...done("fix[1]", [300, 310, 900]),
    ...done("fix", [900, 910, 950]),
    ...done("$judge", [950, 960, 1000]),
    [1000, "task.completed"],
  );

  assert.deepEqual(legs(state).slice(2, -2), [
    ...["fix[]/1#1 queue 200-210", "fix[]/1#1 run 210-230", "fix[1]/1#1 slot 230-300", "fix[1]/1#1 queue 300-310"],
    ...["fix[1]/1#1 run 310-900", "fix/1#1 queue 900-910", "fix/1#1 run 910-950"],
  ]);
});

test("words tell each wait and run in order, and sum up what is short", () => {
  const state = story(
    ...planned({ build: [], tests: ["build"] }),
    ...done("build", [200, 201, 1200]),
    ...done("tests", [4600, 4602, 8000]),
    ...done("$judge", [8000, 8001, 8050]),
    [8050, "task.completed"],
  );

  const { lead, sentences, rest } = pathInWords(criticalPath(state, 0));

  assert.equal(lead, "The end was determined by:");
  assert.deepEqual(
    sentences.map((sentence) => sentence.text),
    ["planner waited 100 ms for a worker, ran 100 ms", "build ran 999 ms", "tests waited 3.4 s for a slot, ran 3.4 s"],
  );
  assert.equal(rest, "53 ms in 4 shorter parts");
});

test("an open task is told up to now", () => {
  const state = story(...planned({ a: [], b: ["a"] }), ...done("a", [200, 210, 300]), [
    305,
    "approval.requested",
    { step: "b", approval_id: "appr_1" },
  ]);

  const path = criticalPath(state, BEGIN + 50_300);

  assert.equal(path.isOpen, true);
  assert.equal(pathInWords(path).sentences.at(-1)?.text, "b has waited 50.0 s for a decision");
  assert.equal(legs(state, 50_300).at(-1), "b/1#1 approval 305-50300");
});

test("a task that nothing was done for has an empty path", () => {
  assert.deepEqual(criticalPath(story(), 0), { legs: [], total: 0, isOpen: true });
  assert.deepEqual(legs(story([0, "task.submitted"], [5, "task.cache", { outcome: "hit" }], [5, "task.completed"])), []);
});

test("a thousand items cost no more than linear time", () => {
  const items = Array.from({ length: 1000 }, (_, number) => done(`fix[${number}]`, [230, 240 + number, 241 + number]));
  const state = story(
    [0, "task.submitted"],
    [200, "task.planned", { steps: [{ step: "fix", arm: "executor", depends_on: [], for_each: true }] }],
    ...done("fix[]", [200, 210, 230]),
    [230, "step.spread", { step: "fix", count: 1000, reused: 0 }],
    ...items.flat(),
  );

  assert.ok(legs(state, 5000).length > 3);
});
