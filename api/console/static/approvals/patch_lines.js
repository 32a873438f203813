// Pure: recognises a patch and names its lines.

const HUNK = /^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@/m;

/**
 * Whether a value is a unified diff: it has the head of a file and a hunk.
 * @param {unknown} value
 * @returns {value is string}
 */
export function isPatch(value) {
  return typeof value === "string" && /^--- /m.test(value) && /^\+\+\+ /m.test(value) && HUNK.test(value);
}

/**
 * The lines of a patch, each with what it is.
 * @param {string} text
 * @returns {["head" | "hunk" | "added" | "removed" | "same", string][]}
 */
export function patchLines(text) {
  let isInHunk = false;
  return text.split("\n").map((line) => {
    if (HUNK.test(line)) {
      isInHunk = true;
      return ["hunk", line];
    }
    // "--- " in a hunk may be a removed line that begins with "-- ": the head of a next file has a hunk behind it
    if (!isInHunk || line.startsWith("diff ") || line.startsWith("index ")) {
      isInHunk = false;
      return ["head", line];
    }
    if (line.startsWith("+")) return ["added", line];
    if (line.startsWith("-")) return ["removed", line];
    return ["same", line];
  });
}
