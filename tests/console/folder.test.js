// A folder is packed as a tar file that tar reads.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { tarEntry } from "../../api/console/static/new_task/folder.js";

test("tar reads the names and the contents, short and long ones and those in other letters", () => {
  const long = `${"folder/".repeat(40)}end.txt`;
  const files = [["a.txt", "one"], [long, "x".repeat(1000)], ["größe/ß.txt", ""], ["b".repeat(101), "y".repeat(512)]];
  const parts = files.flatMap(([path, text]) => tarEntry(String(path), new TextEncoder().encode(text)));
  const archive = Buffer.concat([...parts, new Uint8Array(1024)]);

  const names = execFileSync("tar", ["-tf", "-", "--quoting-style=literal"], {
    input: archive,
    encoding: "utf8",
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  const content = execFileSync("tar", ["-xOf", "-", "a.txt", long], { input: archive, encoding: "utf8" });

  assert.deepEqual(names.trimEnd().split("\n"), files.map(([path]) => path));
  assert.equal(content, `one${"x".repeat(1000)}`);
});
