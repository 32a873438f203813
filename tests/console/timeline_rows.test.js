import assert from "node:assert/strict";
import { test } from "node:test";

import { outcomeOf } from "../../api/console/static/task/bar_text.js";
import { reduceAll } from "../../api/console/static/task/reduce.js";
import { densityOf, filtered, reused, rowsOf, within } from "../../api/console/static/task/timeline_rows.js";
import { BEGIN, done, eventsOf, planned, story } from "./story.js";

const REPAIRED = story(
  ...planned({ good: [], bad: [] }),
  ...done("good", [200, 210, 300]),
  [200, "step.queued", { step: "bad" }],
  [220, "step.started", { step: "bad", attempt: 1 }],
  [300, "step.retrying", { step: "bad", attempt: 1, delay_seconds: 0.1, error: { code: "busy", message: "" } }],
  [420, "step.started", { step: "bad", attempt: 2 }],
  [500, "step.completed", { step: "bad", attempt: 2 }],
  ...done("$judge", [500, 510, 600], { decision: "failed" }),
  [600, "task.repair", { round: 2, kept: ["good"], reruns: ["bad"] }],
  ...done("bad", [600, 610, 700], { round: 2 }),
  ...done("$judge", [700, 710, 800], { round: 2 }),
  [850, "task.completed"],
);

/** @param {import("../../api/console/static/task/timeline_rows.js").TimelineRow[]} rows */
const keys = (rows) => rows.map((row) => `${row.name}: ${row.bars.map((bar) => bar.key).join(" ")}`);

test("there is one row for the planner, each step of any round, the judge and the end", () => {
  assert.deepEqual(keys(rowsOf(REPAIRED)), [
    "$plan: 1/$plan/1",
    "good: 1/good/1",
    "bad: 1/bad/1 1/bad/2 2/bad/1",
    "$judge: 1/$judge/1 2/$judge/1",
    "finishing: finishing",
  ]);
});

test("a round, an attempt or the last attempt leave their bars only", () => {
  const rows = rowsOf(REPAIRED);

  assert.deepEqual(keys(filtered(rows, { round: 2 })), ["bad: 2/bad/1", "$judge: 2/$judge/1", "finishing: finishing"]);
  assert.deepEqual(keys(filtered(rows, { attempt: 2 })), ["bad: 1/bad/2"]);
  assert.deepEqual(keys(filtered(rows, { round: 1, attempt: "last" })), [
    ...["$plan: 1/$plan/1", "good: 1/good/1", "bad: 1/bad/2", "$judge: 1/$judge/1"],
  ]);
});

test("rows with a failed attempt come first if wanted, and done ones can be left out", () => {
  const rows = rowsOf(REPAIRED);
  const open = rowsOf(story(...planned({ a: [], b: ["a"] }), ...done("a", [200, 210, 300])));

  assert.equal(filtered(rows, { isErrorsFirst: true })[0]?.name, "bad");
  assert.ok(filtered(rows, { round: 2 }).every((row) => !row.hasFailed));
  assert.deepEqual(filtered(rows, { isNotDone: true }), []);
  assert.deepEqual(
    filtered(open, { isNotDone: true }).map((row) => row.name),
    ["b", "$judge"],
  );
});

test("items of a loop are rows of their step, in the order of the list, with how many run at a time", () => {
  const state = story(
    [0, "task.submitted"],
    [200, "task.planned", { steps: [{ step: "fix", arm: "executor", depends_on: [], for_each: true }] }],
    ...done("fix[]", [200, 210, 230]),
    [230, "step.spread", { step: "fix", count: 2, reused: 0 }],
    ...done("fix[10]", [230, 250, 400]),
    ...done("fix[2]", [230, 300, 350]),
    ...done("fix", [400, 410, 420]),
  );

  const [, fix] = rowsOf(state);

  assert.deepEqual(keys([fix, ...fix.items]), ["fix: 1/fix[]/1 1/fix/1", "fix[2]: 1/fix[2]/1", "fix[10]: 1/fix[10]/1"]);
  assert.deepEqual(
    densityOf(fix.items, 0).map(({ at, running, waiting }) => [at - BEGIN, running, waiting]),
    [
      [230, 0, 2],
      [250, 1, 1],
      [300, 2, 0],
      [350, 1, 0],
      [400, 0, 0],
    ],
  );
});

test("after an event only the rows that it changed are other ones", () => {
  const lines = [...planned({ a: [], b: [] }), ...done("a", [200, 210, 300]), ...done("b", [200, 220, 400])];
  const before = reduceAll(eventsOf(lines.slice(0, -1)));
  const after = reduceAll(eventsOf(lines), { from: before });
  const rows = rowsOf(before);

  const changed = reused(rows, rowsOf(after)).filter((row) => !rows.includes(row));

  assert.deepEqual(
    changed.map((row) => row.name),
    ["b", "$judge"],
  );
  assert.deepEqual(reused(rows, rowsOf(before)), rows);
});

test("an attempt that was put off for lack of room has not failed", () => {
  const state = story(
    ...planned({ a: [] }),
    [200, "step.queued", { step: "a" }],
    [220, "step.started", { step: "a", attempt: 1 }],
    [300, "step.retrying", { step: "a", attempt: 1, delay_seconds: 1, error: { code: "model_busy", message: "" } }],
  );

  const [, row] = rowsOf(state);

  assert.equal(row?.hasFailed, false);
  assert.equal(outcomeOf(/** @type {any} */ (row?.bars[0])).text, "put off until there is room");
});

test("bars outside of the chosen range are left out", () => {
  const rows = within(rowsOf(REPAIRED), { from: BEGIN + 420, to: BEGIN + 599 });

  assert.deepEqual(keys(rows), ["$plan: ", "good: ", "bad: 1/bad/2", "$judge: 1/$judge/1", "finishing: "]);
});
