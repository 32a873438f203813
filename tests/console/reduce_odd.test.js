/** Whatever a later release or a broken log holds, the state is computed, and in time that is linear in the events. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventLog } from "../../api/console/static/task/event_log.js";
import { initial, reduceAll } from "../../api/console/static/task/reduce.js";

const TYPES = [
  "task.submitted", "task.cache", "task.planned", "step.queued", "step.started", "step.progress", "step.completed",
  "step.failed", "step.skipped", "step.retrying", "step.outcome_unknown", "step.reused", "step.spread",
  "approval.requested", "approval.expiring", "approval.decided", "approval.withdrawn", "judge.verdict", "task.repair",
  "task.replan", "budget.warning", "task.completed", "task.failed", "task.cancelled", "task.unheard_of", "toString", 7,
  null,
]; // prettier-ignore
const ODD = [
  null, undefined, 7, "text", [], {}, { step: null }, { step: 7 }, { step: "" }, { step: "__proto__", round: -1 },
  { step: "constructor", round: 1e9, attempt: -3 }, { step: "a[", round: 1.5 }, { step: "[]" }, { step: "a[]" },
  { step: "a", attempt: "x", error: 3, delay_seconds: "soon" }, { steps: [1, null, { step: "a", depends_on: "b" }] },
  { steps: [{ step: "a", depends_on: ["a", "b"] }, { step: "a" }], round: 1, early: { a: 3 }, kept: 5 },
  { step: "a", count: -1, reused: 1e9, reused_items: [null, -1, "x"] }, { approval_id: "__proto__", step: "a", allow: 4 },
  { step: "$plan" }, { step: "$judge", round: 0 }, { reruns: [null, "zz"], feedback: [], round: 3 },
]; // prettier-ignore

test("odd events change no more than the number of the last event", () => {
  const events = [];
  for (const type of TYPES) for (const data of ODD) events.push({ seq: events.length + 1, timestamp: "soon", type, data });

  const state = reduceAll(/** @type {any} */ (events));

  assert.equal(state.seq, events.length);
  assert.equal(/** @type {any} */ ({}).state, undefined, "the prototype of objects was changed");
});

test("values that are no events are left out, and an event that came before counts once", () => {
  const event = { seq: 1, timestamp: "2026-11-29T02:00:00Z", type: "task.submitted", data: {} };

  const state = reduceAll(/** @type {any} */ ([null, 3, { seq: "1" }, event, event, { type: "step.progress", data: {} }]));

  assert.equal(state.seq, 1);
});

test("a gap is told, and an event log takes nothing after it", () => {
  const [one, three] = [1, 3].map((seq) => ({ seq, timestamp: "2026-11-29T02:00:00Z", type: "x.y", data: {} }));
  const log = new EventLog();

  assert.equal(log.add(/** @type {any} */ ([one, three])), false);
  assert.equal(log.size, 1);
  assert.deepEqual(reduceAll(/** @type {any} */ ([one, three])).gaps, [{ after: 1, before: 3 }]);
});

test("the state of 20,000 events is computed, and a step back costs a hundred events", () => {
  const names = Array.from({ length: 200 }, (_, place) => `s${place}`);
  const steps = names.map((step, place) => ({ step, arm: "x", depends_on: place ? [names[place - 1]] : [] }));
  const events = [{ seq: 1, timestamp: "2026-11-29T02:00:00Z", type: "task.planned", data: { round: 1, steps } }];
  while (events.length < 20_000) {
    const data = /** @type {any} */ ({ step: names[events.length % 200], round: 1, attempt: 1, percent: 1 });
    events.push({ seq: events.length + 1, timestamp: "2026-11-29T02:00:00Z", type: "step.progress", data });
  }
  const log = new EventLog();
  log.add(events);

  // a quadratic reducer takes minutes
  assert.equal(log.stateAt(20_000).seq, 20_000);
  assert.ok(log.checkpoints.length <= 64);
  for (const n of [0, 1, 99, 100, 101, 19_999, 400, 20_000]) {
    assert.equal(log.stateAt(n).seq, n);
    assert.ok(n === 0 || Object.keys(log.stateAt(n).rounds[1]?.steps ?? {}).length === 200);
  }
  assert.equal(log.stateAt(-1).seq, initial().seq);
});
