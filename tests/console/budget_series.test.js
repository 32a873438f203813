import assert from "node:assert/strict";
import { test } from "node:test";

import { comparedBy, costsOf, levelAt, levelsOf } from "../../api/console/static/task/budget_series.js";
import { BEGIN } from "./story.js";

/**
 * @param {number} at
 * @param {Partial<import("../../api/console/static/task/budget_series.js").BudgetEntry> & {until?: number}} [more]
 */
function entry(at, { until, ...more } = {}) {
  return /** @type {import("../../api/console/static/task/budget_series.js").BudgetEntry} */ ({
    at: new Date(BEGIN + at).toISOString(),
    settled_at: until === undefined ? null : new Date(BEGIN + until).toISOString(),
    ...{ step: "a", round: 1, attempt: 1, call: 1, purpose: null, model: null },
    ...{ reserved_tokens: 100, reserved_dollars: 0.1, settled_tokens: null, settled_dollars: null },
    state: until === undefined ? "reserved" : "settled",
    ...more,
  });
}

const CALLS = [
  entry(0, { until: 50, settled_tokens: 30, settled_dollars: 0.01 }),
  entry(20, { until: 90, settled_tokens: 100, settled_dollars: null }),
  entry(60, { reserved_dollars: null }),
];
/** @param {import("../../api/console/static/task/budget_series.js").Level[]} levels */
const told = (levels) => levels.map(({ at, settled, reserved, unknown }) => [at - BEGIN, settled, reserved, unknown]);

test("a call is reserved when it is sent; when it is settled, its charge takes the place of the reservation", () => {
  assert.deepEqual(told(levelsOf(CALLS, "tokens")), [
    ...[[0, 0, 100, 0], [20, 0, 200, 0], [50, 30, 100, 0]],
    ...[[60, 30, 200, 0], [90, 130, 100, 0]],
  ]);
});

test("unknown dollars are counted, not taken for zero", () => {
  assert.deepEqual(told(levelsOf(CALLS, "dollars")), [
    ...[[0, 0, 0.1, 0], [20, 0, 0.2, 0], [50, 0.01, 0.1, 0]],
    ...[[60, 0.01, 0.1, 1], [90, 0.01, 0, 2]],
  ]);
});

test("the sums at a moment are those since the last change", () => {
  const levels = levelsOf(CALLS, "tokens");

  assert.deepEqual(told([levelAt(levels, BEGIN + 55)]), [[50, 30, 100, 0]]);
  assert.deepEqual(told([levelAt(levels, BEGIN + 5000)]), [[90, 130, 100, 0]]);
  assert.deepEqual(levelAt(levels, BEGIN - 1), { at: BEGIN - 1, settled: 0, reserved: 0, unknown: 0 });
  assert.deepEqual(levelsOf([], "tokens"), []);
});

test("an attempt costs what its calls were charged; one unknown part makes its dollars unknown", () => {
  const costs = costsOf([
    ...CALLS,
    entry(0, { until: 1, step: "b", settled_tokens: 1, settled_dollars: 0.1 }),
    entry(1, { until: 2, step: "b", settled_tokens: 2, settled_dollars: 0.2 }),
    entry(1, { until: 2, step: "$plan", round: 0, settled_tokens: 7, settled_dollars: 0 }),
  ]);

  assert.deepEqual(Object.fromEntries(costs), {
    "1/a/1": { tokens: 130, dollars: null },
    "1/b/1": { tokens: 3, dollars: 0.3 },
    "1/$plan/1": { tokens: 7, dollars: 0 },
  });
});

test("attempts are compared by dollars if any was charged or is unknown, else by tokens", () => {
  assert.equal(comparedBy([{ tokens: 5, dollars: 0 }]), "tokens");
  assert.equal(comparedBy([{ tokens: 5, dollars: 0 }, { tokens: 5, dollars: null }]), "dollars");
  assert.equal(comparedBy([{ tokens: 5, dollars: 0.1 }]), "dollars");
});
