// A JSON pointer leads to its place in the text, and a malformed text says where it stops being JSON.
import assert from "node:assert/strict";
import { test } from "node:test";

import { lineNumbers, placeAt, readPlaces } from "../../api/console/static/new_task/json_positions.js";

const TEXT = `{
  "steps": [
    {"id": "a", "inputs": {"x/y~z": [1, -2.5e3, true], "": null}},
    {"id": "\\u0062",
     "inputs": {}}
  ]
}`;

/** @param {string} pointer */
function shown(pointer) {
  const { root } = readPlaces(TEXT);
  const place = placeAt(/** @type {any} */ (root), pointer);
  return [lineNumbers(TEXT)(place.name), TEXT.slice(place.start, place.end)];
}

test("a pointer leads to its value and the line of its name", () => {
  assert.deepEqual(shown("/steps/0/id"), [3, '"a"']);
  assert.deepEqual(shown("/steps/0/inputs/x~1y~0z/1"), [3, "-2.5e3"]);
  assert.deepEqual(shown("/steps/0/inputs/"), [3, "null"]);
  assert.deepEqual(shown("/steps/1/inputs"), [5, "{}"]);
  assert.deepEqual(shown(""), [1, TEXT]);
});

test("a pointer to something missing leads to the object that lacks it", () => {
  assert.deepEqual(shown("/steps/1/inputs/seconds/0"), [5, "{}"]);
  assert.deepEqual(shown("/steps/7/id")[0], 2);
});

test("the reader agrees with JSON.parse", () => {
  const texts = [
    "1", "-0", "01", "1.", ".5", "1e5", "1e", "+1", "tru", "true", "truex", "null", "[1,]", "[,1]", "[1 2]", "{}", '{"a":}',
    '{"a" 1}', "{a:1}", '{"a":1,}', '"a', '"a\nb"', '"\\x"', '"\\u12"', '"\\ud83d\\ude00"', "", " ", "[]]", "\u00a01", "NaN",
    '"\u2028"', "[[[[]]]]", '{"a":{"b":[{}]}}', "'a'", "/*x*/1", '{"__proto__":1}', '"\t"', "1 ", "\ufeff1",
  ];
  for (const text of texts) {
    let isJson = true;
    try {
      JSON.parse(text);
    } catch {
      isJson = false;
    }
    assert.equal(readPlaces(text).malformed === null, isJson, JSON.stringify(text));
  }
});

test("a malformed text says where and what was expected", () => {
  const malformed = (/** @type {string} */ text) => readPlaces(text).malformed;

  assert.deepEqual(malformed('{"a": 1 "b": 2}'), { message: 'expected "," or "}", not "\\""', offset: 8 });
  assert.deepEqual(malformed('{"a": '), { message: "expected a value, not the end", offset: 6 });
  assert.deepEqual(malformed('{"a": 1, "a": 2}'), { message: 'the member "a" is there twice', offset: 9 });
});

test("deep nesting is refused before it costs anything", () => {
  const malformed = readPlaces("[".repeat(1_000_000)).malformed;

  assert.equal(malformed?.message, "is nested deeper than 64 levels");
});

test("a large text of every kind is read at once", () => {
  const members = Array.from({ length: 20_000 }, (_, n) => `"${"k".repeat(50)}${n}": ["${"v".repeat(50)}\\n", -1.5e3]`);
  const before = process.cpuUsage();

  assert.equal(readPlaces(`{${members.join(",")}}`).malformed, null);
  assert.ok(readPlaces(`"${"\\\\".repeat(500_000)}`).malformed);
  assert.ok(readPlaces("1".repeat(1_000_000) + "x").malformed);

  assert.ok(process.cpuUsage(before).user < 10_000_000);
});
