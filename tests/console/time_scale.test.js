import assert from "node:assert/strict";
import { test } from "node:test";

import { offsetLabel, ticksOf } from "../../api/console/static/task/ticks.js";
import { GAP_PIXELS, stretchesOf, timeAt, timeScale, xOf } from "../../api/console/static/task/time_scale.js";

const HOUR = 3_600_000;
const run = (from, to) => ({ from, to, isRun: true });
const waiting = (from, to) => ({ from, to, isRun: false });

test("times are drawn in proportion while nothing is long", () => {
  const scale = timeScale([run(0, 3400), waiting(3400, 6800), run(6800, 10_000)], { from: 0, to: 10_000, width: 1000 });

  assert.deepEqual(scale.gaps, []);
  assert.equal(xOf(scale, 3400), 340);
  assert.equal(xOf(scale, -5), 0);
  assert.equal(xOf(scale, 99_999), 1000);
});

test("a wait of two hours beside bursts is compressed, and the bursts share the rest of the width", () => {
  const spans = [run(0, 1000), waiting(1000, 1000 + 2 * HOUR), run(1000 + 2 * HOUR, 2000 + 2 * HOUR)];

  const scale = timeScale(spans, { from: 0, to: 2000 + 2 * HOUR, width: 848 });

  assert.deepEqual(scale.gaps, [{ from: 1000, to: 1000 + 2 * HOUR, x1: 400, x2: 400 + GAP_PIXELS, isGap: true }]);
  assert.equal(xOf(scale, 500), 200);
  assert.equal(xOf(scale, 1500 + 2 * HOUR), 648);
  assert.equal(xOf(scale, 1000 + HOUR), 424);
});

test("xOf and timeAt are the reverse of each other, also inside a gap", () => {
  const spans = [run(0, 7), run(5 * HOUR, 5 * HOUR + 13)];
  const scale = timeScale(spans, { from: 0, to: 5 * HOUR + 13, width: 700 });

  for (let x = 0; x <= 700; x += 7) assert.ok(Math.abs(xOf(scale, timeAt(scale, x)) - x) < 1e-6, `pixel ${x}`);
  assert.equal(scale.gaps.length, 1);
});

test("a long run keeps its length, because it tells where the time went; a very long one beside nothing visible does not", () => {
  const minute = [run(0, 50), run(50, 60_000), run(60_000, 61_000)];
  const day = [run(0, 50), run(50, 24 * HOUR), run(24 * HOUR, 24 * HOUR + 900)];

  assert.deepEqual(timeScale(minute, { from: 0, to: 61_000, width: 900 }).gaps, []);
  assert.equal(timeScale(day, { from: 0, to: 24 * HOUR + 900, width: 900 }).gaps.length, 1);
});

test("gaps never take more than two fifths of the width", () => {
  const bursts = (/** @type {number} */ count) =>
    Array.from({ length: count }, (_, number) => run(number * HOUR, number * HOUR + 5));

  const few = timeScale(bursts(5), { from: 0, to: 4 * HOUR + 5, width: 400 });
  const many = timeScale(bursts(500), { from: 0, to: 499 * HOUR + 5, width: 400 });

  assert.deepEqual([few.gaps.length, many.gaps.length], [3, 0]);
  for (const scale of [few, many]) assert.equal(scale.pieces.at(-1)?.x2.toFixed(6), "400.000000");
});

test("an axis without time, without spans or with one moment only is still an axis", () => {
  for (const spans of [[], [run(5, 5)], [waiting(5, 5)]]) {
    const scale = timeScale(spans, { from: 5, to: 5, width: 300 });

    assert.equal(xOf(scale, 5), 0);
    assert.ok(ticksOf(scale, 5).length >= 1);
  }
});

test("stretches cover the range without a hole, and those in which nothing runs are idle", () => {
  assert.deepEqual(stretchesOf([run(2, 4), waiting(4, 6), run(5, 9)], { from: 1, to: 8 }), [
    { from: 1, to: 2, isIdle: true },
    { from: 2, to: 4, isIdle: false },
    { from: 4, to: 5, isIdle: true },
    { from: 5, to: 6, isIdle: false },
    { from: 6, to: 8, isIdle: false },
  ]);
});

test("ticks have round distances from the beginning, and none is in a gap", () => {
  const spans = [run(100, 1100), run(1100 + 2 * HOUR, 2100 + 2 * HOUR)];
  const scale = timeScale(spans, { from: 100, to: 2100 + 2 * HOUR, width: 848 });

  const ticks = ticksOf(scale, 100);

  assert.deepEqual(
    ticks.map((tick) => tick.label),
    ["0.0 s", "0.2 s", "0.4 s", "0.6 s", "0.8 s", "1.0 s", "2 h 00 m 01.2 s", "2 h 00 m 01.4 s", "2 h 00 m 01.6 s", "2 h 00 m 01.8 s", "2 h 00 m 02.0 s"],
  );
  for (const tick of ticks) assert.ok(scale.gaps.every((gap) => tick.x <= gap.x1 || tick.x >= gap.x2));
});

test("labels are as exact as the ticks' distance needs", () => {
  assert.equal(offsetLabel(0, 5), "0 ms");
  assert.equal(offsetLabel(35, 5), "35 ms");
  assert.equal(offsetLabel(1_035, 5), "1.035 s");
  assert.equal(offsetLabel(2_500, 500), "2.5 s");
  assert.equal(offsetLabel(30_000, 10_000), "30 s");
  assert.equal(offsetLabel(90_000, 30_000), "1 m 30 s");
  assert.equal(offsetLabel(2 * HOUR, HOUR), "2 h");
  assert.equal(offsetLabel(30 * HOUR, HOUR), "1 d 06 h");
  assert.equal(offsetLabel(-2_000, 1_000), "-2 s");
});
