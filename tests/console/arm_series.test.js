import assert from "node:assert/strict";
import { test } from "node:test";

import { columnsOf, percent, problemOf, sorted, spoken } from "../../api/console/static/arms/arm_series.js";

const MINUTE = { finished: 1, failed: 0, p50_ms: null, p95_ms: 5, queued: 0.5, busy: 2 };

/** @param {Record<string, unknown>} members */
const arm = (members) =>
  /** @type {import("../../api/console/static/arms/arm_series.js").Arm} */ ({
    arm_id: "a", queued: 0, workers: 1, is_unserved: false, outage: null, p50_ms: null, status: "healthy", ...members,
  });

test("columns are times in seconds and the values of each member, with gaps", () => {
  const series = [
    { at: "2026-11-29T02:00:00.000Z", ...MINUTE },
    { at: "2026-11-29T02:01:00.000Z", ...MINUTE, p50_ms: 7 },
  ];

  assert.deepEqual(columnsOf(series, ["busy", "p50_ms"]), [
    [1795917600, 1795917660],
    [2, 2],
    [null, 7],
  ]);
});

test("what is unknown comes last in either direction", () => {
  const arms = [arm({ arm_id: "x" }), arm({ arm_id: "y", p50_ms: 5 }), arm({ arm_id: "z", p50_ms: 9 })];
  const ids = (/** @type {boolean} */ down) => sorted(arms, "p50_ms", down).map((one) => one.arm_id);

  assert.deepEqual(ids(false), ["y", "z", "x"]);
  assert.deepEqual(ids(true), ["z", "y", "x"]);
  assert.equal(sorted(arms, null, false), arms);
});

test("a status sorts from healthy to unavailable", () => {
  const arms = [arm({ status: "unavailable" }), arm({ status: "healthy" }), arm({ status: "degraded" })];

  assert.deepEqual(
    sorted(arms, "status", false).map((one) => one.status),
    ["healthy", "degraded", "unavailable"],
  );
});

test("a queue without a worker and an outage are told in words", () => {
  assert.equal(problemOf(arm({ is_unserved: true, workers: 0, queued: 2 })), "2 queued steps, no worker");
  assert.equal(problemOf(arm({ outage: "its breaker is open" })), "takes no steps: its breaker is open");
  assert.equal(problemOf(arm({})), null);
});

test("a chart is told by its last and its greatest value", () => {
  assert.equal(
    spoken("Steps", [
      ["queued", [1, 4, 2.26], ""],
      ["P50", [null, 1500, null], "ms"],
      ["P95", [null], "ms"],
    ]),
    "Steps. queued: last 2.3, at most 4; P50: last 1.5 s, at most 1.5 s; P95: nothing.",
  );
});

test("a share that is not all is never shown as all", () => {
  assert.deepEqual([1, 0.99996, 0.5, 0, null].map(percent), ["100 %", "99.9 %", "50 %", "0 %", "–"]);
});
