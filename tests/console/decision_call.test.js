import assert from "node:assert/strict";
import { test } from "node:test";

import {
  MAX_DECIDED,
  decidedWords,
  decisionBody,
  decisionLines,
  merged,
} from "../../api/console/static/approvals/decision_call.js";

/** @param {Record<string, unknown>} members */
const approval = (members) =>
  /** @type {import("../../api/console/static/approvals/decision_call.js").Approval} */ ({
    approval_id: "appr_1", proposal_hash: "abc", state: "pending", expires_at: "2026-11-29T02:00:00Z", ...members,
  });

test("a decision has the hash of what was seen, its value by its name, and the console as its way", () => {
  assert.deepEqual(decisionBody(approval({}), "edit", { comment: " so ", value: { seconds: 1 } }), {
    decision: "edit",
    proposal_hash: "abc",
    inputs: { seconds: 1 },
    comment: "so",
    via: "console",
  });
  assert.deepEqual(decisionBody(approval({}), "answer", { comment: "", value: null }), {
    decision: "answer",
    proposal_hash: "abc",
    answer: null,
    via: "console",
  });
});

test("each decision has its octollm line", () => {
  /** @param {import("../../api/console/static/approvals/decision_call.js").Verb} verb @param {any} given */
  const line = (verb, given) => decisionLines(approval({}), verb, { comment: "", ...given }).cli;

  assert.equal(line("approve", { comment: "go on" }), "octollm approve appr_1 --comment 'go on'");
  assert.equal(line("edit", { value: { a: 1 } }), `octollm approve appr_1 --inputs '{"a":1}'`);
  assert.equal(line("reject", { comment: "no" }), "octollm reject appr_1 --comment no");
  assert.equal(line("reject", {}), "octollm reject appr_1 --comment 'because ...'");
  assert.equal(line("answer", { value: "it's" }), `octollm answer appr_1 '"it'\\''s"'`);
  assert.equal(line("run_again", {}), "octollm run-again appr_1");
  assert.equal(line("accept", { value: 3 }), "octollm accept appr_1 3");
});

test("a decided approval is told with who and how", () => {
  assert.equal(decidedWords({ state: "approved", decided_by: "ann", via: "cli" }), "approved by ann via cli");
  assert.equal(decidedWords({ state: "run_again" }), "run again");
});

test("what was seen stays in the list after it is decided, in the order of expiry", () => {
  const seen = [approval({ approval_id: "b", state: "approved" }), approval({ approval_id: "c" })];
  const pending = [
    approval({ approval_id: "a", expires_at: "2026-11-29T03:00:00Z" }),
    approval({ approval_id: "d", expires_at: "2026-11-29T01:00:00Z" }),
    // an older answer
    approval({ approval_id: "b" }),
  ];

  const { list, vanished } = merged(seen, pending);

  assert.deepEqual(list.map((one) => one.approval_id), ["d", "b", "c", "a"]);
  assert.equal(list[1]?.state, "approved");
  assert.deepEqual(vanished, ["c"]);
});

test("a page that is open for long keeps the latest decisions only", () => {
  const seen = Array.from({ length: MAX_DECIDED + 10 }, (_, index) =>
    approval({ approval_id: `a${index}`, state: "approved", decided_at: `2026-11-29T02:00:${String(index).padStart(2, "0")}Z` }),
  );

  const { list } = merged(seen, []);

  assert.equal(list.length, MAX_DECIDED);
  assert.equal(list.some((one) => one.approval_id === "a9"), false);
  assert.equal(list.some((one) => one.approval_id === "a10"), true);
});
