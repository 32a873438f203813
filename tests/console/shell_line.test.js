/** Shell lines say what the console does, and a shell reads them as they are meant. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { curlOf, octollmOf, shellWord } from "../../api/console/static/parts/shell_line.js";

const origin = "http://127.0.0.1:8000";

test("a shell reads each word as it was", () => {
  const words = ["plain", "two words", "it's", "$HOME `id` $(id)", 'a"b', "a\nb", "", "\\", "-x=1", "ü", "!x", "~"];

  const read = execFileSync("sh", ["-c", `printf '%s\\0' ${words.map(shellWord).join(" ")}`], { encoding: "utf8" });

  assert.deepEqual(read.split("\0").slice(0, -1), words);
});

test("a read needs no method, a write has its body", () => {
  assert.equal(
    curlOf("GET", "/v1/tasks?status=failed", null, { origin }),
    `curl -sS 'http://127.0.0.1:8000/v1/tasks?status=failed' -H "Authorization: Bearer $OCTOLLM_TOKEN"`,
  );
  assert.match(
    curlOf("POST", "/v1/tasks", { goal: "it's" }, { origin, headers: { "Idempotency-Key": "k" } }),
    /^curl -sS -X POST \S+ -H "[^"]+" -H 'Idempotency-Key: k' -H 'Content-Type: application\/json' --data-binary '\{"goal":"it'\\''s"\}'$/,
  );
});

test("a large body comes from a file", () => {
  assert.ok(curlOf("POST", "/v1/tasks", { goal: "x".repeat(5000) }, { origin }).endsWith("--data-binary @body.json"));
});

test("words that are not given are left out", () => {
  assert.equal(octollmOf("retry", "task_1", null, undefined), "octollm retry task_1");
});
