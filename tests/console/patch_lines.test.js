import assert from "node:assert/strict";
import { test } from "node:test";

import { isPatch, patchLines } from "../../api/console/static/approvals/patch_lines.js";

const PATCH = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n a\n--- b\n+c";

test("a unified diff is a patch, other texts are not", () => {
  assert.equal(isPatch(PATCH), true);
  for (const value of ["--- a\n+++ b", "@@ -1 +1 @@", "a - b", 3, null, {}]) assert.equal(isPatch(value), false);
});

test("each line is named", () => {
  assert.deepEqual(
    patchLines(PATCH).map(([kind]) => kind),
    ["head", "head", "hunk", "same", "removed", "added"],
  );
});
