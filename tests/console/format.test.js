import assert from "node:assert/strict";
import { test } from "node:test";
import { age, bytes, count, duration, money } from "../../api/console/static/format.js";

test("a duration names the two largest units that matter", () => {
  const cases = [
    [0, "0 ms"], [999, "999 ms"], [1000, "1.0 s"], [59_949, "59.9 s"], [59_950, "1 min 00 s"],
    [245_000, "4 min 05 s"], [7_380_000, "2 h 03 min"], [273_600_000, "3 d 4 h"], [null, "?"], [NaN, "?"],
  ];
  for (const [ms, text] of cases) assert.equal(duration(/** @type {any} */ (ms)), text);
});

test("an age says how long ago, or in how long", () => {
  const now = Date.parse("2026-11-29T12:00:00Z");
  assert.equal(age("2026-11-29T11:59:57.100Z", now), "2 s ago");
  assert.equal(age("2026-11-29T11:59:59.500Z", now), "now");
  assert.equal(age(now + 300_000, now), "in 5 min");
  assert.equal(age(null, now), "?");
});

test("an unknown cost is a question mark, never zero", () => {
  const cases = [
    [null, "?"], [undefined, "?"], ["", "?"], [0, "$0"], [0.00004, "<$0.0001"], [0.0123, "$0.0123"],
    ["1.5", "$1.50"], [1234.5, "$1,234.50"], [-2, "-$2.00"],
  ];
  for (const [amount, text] of cases) assert.equal(money(/** @type {any} */ (amount)), text);
});

test("bytes and counts", () => {
  assert.deepEqual([0, 999, 1500, 999_600, 2_000_000].map(bytes), ["0 B", "999 B", "1.5 kB", "1.0 MB", "2.0 MB"]);
  assert.deepEqual([count(1, "step"), count(1200, "step"), count(2, "retry", "retries")], ["1 step", "1,200 steps", "2 retries"]);
});
