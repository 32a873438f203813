// A draft becomes the contract that its fields say, and the line of octollm run that submits the same.
import assert from "node:assert/strict";
import { test } from "node:test";

import { checkOf, sentenceOf } from "../../api/console/static/new_task/check.js";
import { contractOf, emptyDraft, faultsAt, runLine } from "../../api/console/static/new_task/contract.js";

/** @param {Record<string, any>} more */
const draft = (more) => ({ ...emptyDraft(), ...more });
const check = { operation: "at_least", step: "count", pointer: "/total", operand: "5" };

test("an empty draft is a contract with an empty goal", () => {
  assert.deepEqual(contractOf(emptyDraft()), { contract: { goal: "" }, rows: [], malformed: null });
});

test("all members are sent as the API takes them", () => {
  const { contract, rows } = contractOf(
    draft({
      by: "plan",
      goal: " do it ",
      plan: '{"steps": []}',
      recipe: "unused",
      context: "text",
      criteria: [{ key: 1, text: " ", check: null }, { key: 2, text: "a", check: null }, { key: 3, text: "b", check }],
      attachments: [{ artifact_id: "f".repeat(64), filename: "a.txt", size_bytes: 3 }],
      budget: { max_tokens: "5000", max_cost_dollars: "0.5", max_repairs: "", max_replans: "x" },
      cache: "bypass",
      priority: "high",
      effects: "read",
    }),
  );

  assert.deepEqual(contract, {
    goal: "do it",
    plan: { steps: [] },
    context: "text",
    acceptance_criteria: ["a", { text: "b", check: { step: "count", pointer: "/total", at_least: 5 } }],
    attachments: ["f".repeat(64)],
    budget: { max_tokens: 5000, max_cost_dollars: 0.5, max_replans: "x" },
    cache: { mode: "bypass" },
    priority: "high",
    effects: "read",
  });
  assert.deepEqual(rows, [2, 3]);
});

test("a plan that is no JSON is not sent and says where", () => {
  const { contract, malformed } = contractOf(draft({ by: "plan", goal: "g", plan: "{" }));

  assert.equal("plan" in contract, false);
  assert.equal(malformed?.offset, 1);
});

test("a recipe without a goal is named as octollm run names it", () => {
  const { contract } = contractOf(draft({ by: "recipe", recipe: "find-lines", parameters: { pattern: "x", size: "" } }));

  assert.deepEqual(contract, {
    goal: "Run the recipe find-lines with pattern=x",
    recipe: "find-lines",
    parameters: { pattern: "x" },
  });
});

test("the octollm line says the same, and what it can't say", () => {
  const { line, lacks } = runLine(
    draft({
      goal: "it's",
      criteria: [{ key: 1, text: "b", check }],
      attachments: [{ artifact_id: "f", filename: "a b.txt", size_bytes: 1 }],
      budget: { max_tokens: "9", max_repairs: "1" },
      effects: "none",
    }),
  );

  assert.equal(
    line,
    `octollm run 'it'\\''s' --criteria '{"text":"b","check":{"step":"count","pointer":"/total","at_least":5}}' ` +
      `--attach 'a b.txt' --max-tokens 9`,
  );
  assert.deepEqual(lacks, ["repairs", "effects"]);
});

test("each operation becomes a rule and a sentence", () => {
  /** @type {[Record<string, any>, Record<string, any>, string][]} */
  const cases = [
    [{ operation: "equals", operand: "true" }, { equals: true }, "The result equals true."],
    [{ operation: "equals", operand: "yes" }, { equals: "yes" }, 'The result equals "yes".'],
    [{ operation: "at_most", operand: "x" }, { at_most: "x" }, 'The result is at most "x".'],
    [
      { operation: "contains", operand: '"3"', step: "a", pointer: "/b" },
      { step: "a", pointer: "/b", contains: "3" },
      'The value at /b in the output of step a contains "3".',
    ],
    [{ operation: "matches", operand: "^1$" }, { matches: "^1$" }, 'The result matches the pattern "^1$".'],
    [{ operation: "exists", operand: "false", step: "a" }, { step: "a", exists: false }, "The output of step a does not exist."],
    [
      { operation: "same_as", operand: "b", otherPointer: "/x", step: "a" },
      { step: "a", same_as: { step: "b", pointer: "/x" } },
      "The output of step a is the same as the value at /x in the output of step b.",
    ],
    [{ operation: "output_schema", operand: '{"type":"object"}' }, { output_schema: { type: "object" } }, 'The result matches the schema {"type":"object"}.'],
    [{ operation: "all_steps_done" }, { all_steps_done: true }, "All steps are done or were skipped."],
  ];
  for (const [form, rule, sentence] of cases) {
    const made = checkOf(/** @type {any} */ ({ step: "", pointer: "", operand: "", ...form }));
    assert.deepEqual(made, rule);
    assert.equal(sentenceOf(made), sentence);
  }
});

test("a member's faults are those at its place and below", () => {
  const faults = [{ path: "/budget/max_tokens", message: "a" }, { path: "/budgets", message: "b" }, { path: "", message: "c" }];

  assert.deepEqual(faultsAt(faults, "/budget"), ["a"]);
});
