// The retry form becomes the body of the request, and the octollm line that does the same.
import assert from "node:assert/strict";
import { test } from "node:test";

import { bodyOf, cliOf, NOTHING } from "../../api/console/static/task/retry_changes.js";

/** @param {Record<string, string>} some */
const changes = (some) => ({ ...NOTHING, ...some });
/** @param {Record<string, string>} some */
const setOf = (some) => bodyOf("changes", null, changes(some)).body.set;
/** @param {Record<string, string>} some */
const wrongOf = (some) => bodyOf("changes", null, changes(some)).wrong?.message;

test("a plain retry says only where it begins", () => {
  assert.deepEqual(bodyOf("plain", null, changes({ model: "left:over" })), { body: {}, wrong: null });
  assert.deepEqual(bodyOf("plain", "b", NOTHING), { body: { from_step: "b" }, wrong: null });
});

test("a replay runs all steps, whatever the other fields say", () => {
  assert.deepEqual(bodyOf("replay", "b", changes({ model: "left:over" })), { body: { replay: true }, wrong: null });
});

test("changes have the members that the API takes", () => {
  const { body, wrong } = bodyOf(
    "changes",
    "b",
    changes({ step: "a", inputs: '{"seconds": 2}', prompt: " be brief ", model: " x:y ", criteria: " one \n\n two" }),
  );

  assert.equal(wrong, null);
  assert.deepEqual(body, {
    from_step: "b",
    set: { inputs: { a: { seconds: 2 } }, prompt: { a: "be brief" }, model: "x:y", criteria: ["one", "two"] },
  });
});

test("fields with nothing but blanks change nothing", () => {
  assert.equal(setOf({ step: "a", inputs: " ", prompt: "\n", model: " ", criteria: " \n " }), undefined);
});

test("the planner has a prompt and no inputs, whatever its hidden field says", () => {
  assert.deepEqual(setOf({ step: "$plan", inputs: '{"seconds": 2}', prompt: "be brief" }), { prompt: { $plan: "be brief" } });
  assert.equal(wrongOf({ step: "$plan", inputs: "{" }), undefined);
});

test("what can't be sent says what is missing", () => {
  for (const inputs of ["{", "[]", "null", "1", '"a"']) {
    assert.match(wrongOf({ step: "a", inputs }) ?? "", /JSON object/, inputs);
  }
  assert.match(wrongOf({ inputs: "{}" }) ?? "", /Choose the step/);
  assert.match(wrongOf({ prompt: "be brief" }) ?? "", /Choose the step/);
});

test("the command line does the same", () => {
  const set = { inputs: { a: { seconds: 2, text: "it's" } }, prompt: { a: "be brief", $plan: "think" }, model: "x:y", criteria: ["one"] };

  assert.equal(
    cliOf("changes", "task_1", "b", { from_step: "b", set }),
    "octollm fork task_1 --input a.seconds=2 --input 'a.text=\"it'\\''s\"' --model x:y --prompt 'a=be brief' " +
      "--plan-prompt think --criterion one --from b",
  );
  assert.equal(cliOf("plain", "task_1", null, {}), "octollm retry task_1");
  assert.equal(cliOf("changes", "task_1", "b", { from_step: "b" }), "octollm retry task_1 --from b");
  assert.equal(cliOf("replay", "task_1", "b", { replay: true }), "octollm replay task_1");
});
