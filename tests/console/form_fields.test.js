import assert from "node:assert/strict";
import { test } from "node:test";

import { actionSchema, draftOf, fieldsOf, isRounded, placed, readJson, valueOf } from "../../api/console/static/approvals/form_fields.js";

const SCHEMA = {
  type: "object",
  properties: {
    seconds: { type: "number", minimum: 0, maximum: 300 },
    times: { type: "integer" },
    fast: { type: "boolean" },
    to: { enum: ["csv", "json", 3] },
    text: { type: "string", minLength: 2, maxLength: 5000 },
    paths: { type: "array", items: { type: "string" } },
  },
  required: ["seconds"],
  additionalProperties: false,
};

/** @param {any} schema @param {any} value */
const fields = (schema, value) => {
  const found = fieldsOf(schema, value);
  assert.ok(found);
  return found;
};

test("a form has a field for each member of the schema, and for each that is there", () => {
  const value = { seconds: 1, own: [1] };

  assert.deepEqual(
    fields(SCHEMA, value).map((one) => [one.name, one.kind, one.isRequired]),
    [
      ["seconds", "number", true],
      ["times", "number", false],
      ["fast", "boolean", false],
      ["to", "enum", false],
      ["text", "long", false],
      ["paths", "json", false],
      ["own", "json", false],
    ],
  );
});

test("a value goes through the form unchanged", () => {
  for (const value of [
    { seconds: 0 },
    { seconds: 1, text: "" },
    { seconds: 1.5, times: 2, fast: false, to: 3, text: "a\nb", paths: ["x"], own: null },
  ]) {
    const shown = fields(SCHEMA, value);

    assert.deepEqual(valueOf(shown, draftOf(shown, value)), { value, faults: {} });
  }
});

test("a fault is told at its field", () => {
  const shown = fields(SCHEMA, {});
  const draft = { seconds: "400", times: "1.5", text: "x", paths: "[1", to: "", fast: "" };

  const { value, faults } = valueOf(shown, draft);

  assert.equal(value, undefined);
  assert.equal(faults.seconds, "Must be at most 300.");
  assert.equal(faults.times, "Must be a whole number.");
  assert.equal(faults.text, "Must have at least 2 characters.");
  assert.match(faults.paths ?? "", /^This is not JSON: /);
  assert.equal(valueOf(shown, {}).faults.seconds, "This is needed.");
  assert.equal(valueOf(shown, { seconds: "x" }).faults.seconds, "Must be a number.");
});

test("a value of another type than the schema's is edited as JSON and not changed", () => {
  const value = { seconds: "soon", to: "xml", fast: 1 };
  const shown = fields(SCHEMA, value);

  assert.deepEqual(
    shown.filter((one) => one.kind === "json").map((one) => one.name),
    ["seconds", "fast", "to", "paths"],
  );
  assert.deepEqual(valueOf(shown, draftOf(shown, value)).value, value);
});

test("an answer that is no object is one field", () => {
  const shown = fields({ enum: ["red", "blue"] }, undefined);

  assert.deepEqual(valueOf(shown, { "": "1" }), { value: "blue", faults: {} });
  assert.deepEqual(valueOf(shown, { "": "" }).faults, { "": "This is needed." });
});

test("what a form can't show is left to JSON", () => {
  const many = Object.fromEntries(Array.from({ length: 41 }, (_, index) => [`m${index}`, {}]));
  for (const schema of [null, {}, { type: "array" }, { type: "object" }, { anyOf: [] }, { type: "object", properties: many }, { properties: { "": {}, a: {} } }]) {
    assert.equal(fieldsOf(schema, undefined), null);
  }
  assert.equal(fieldsOf(SCHEMA, [1]), null);
});

test("a member that is called like a property of every object is a member", () => {
  const schema = { type: "object", properties: { constructor: { type: "string" } } };

  const shown = fields(schema, {});
  assert.deepEqual(draftOf(shown, {}), { constructor: "" });
  assert.deepEqual(valueOf(shown, {}), { value: {}, faults: {} });
  assert.deepEqual(placed([{ field: "inputs.constructor", message: "wrong" }], shown), { constructor: "wrong" });
});

test("the server's faults find their fields", () => {
  const errors = [
    { field: "inputs.seconds", message: "too long" },
    { field: "comment", message: "too short" },
  ];

  assert.deepEqual(placed(errors, fields(SCHEMA, {})), { seconds: "too long", "": "comment: too short" });
  assert.deepEqual(placed(undefined, []), {});
});

test("the schema of an action is found by its title", () => {
  const arms = [{ arm_id: "executor", input_schema: { oneOf: [{ title: "wait", type: "object" }] } }];

  assert.equal(actionSchema(arms, "executor", "wait")?.type, "object");
  assert.equal(actionSchema(arms, "executor", "run"), null);
  assert.equal(actionSchema(arms, "coder", "wait"), null);
});

test("a text that is not JSON says so", () => {
  assert.deepEqual(readJson("[1]"), { value: [1] });
  assert.match(readJson("{").fault ?? "", /^This is not JSON/);
});

test("a number that was rounded when it was read is found at any depth", () => {
  assert.equal(isRounded({ a: [1, { b: 9007199254740993 }] }), true);
  assert.equal(isRounded({ a: [1, 0.1, 9007199254740991, "9007199254740993", null] }), false);
});
