// Reads what was dropped or chosen, and packs a folder as one tar.gz file, as `octollm run --attach` does.

/** @typedef {{path: string, file: File}} Member */

const LEFT_OUT = new Set([
  "__pycache__", "node_modules", "build", "dist", ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", ".octollm",
  ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis", ".eggs",
]);
const MAX_FILES = 5000;
const BLOCK = 512;
const MAX_NAME_BYTES = 100;

/**
 * Return the files of a drop or a paste, each folder packed as one. Call it at once in the event's handler: the
 * browser forgets the items when the handler ends.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export function filesOf(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => ({
    entry: item.webkitGetAsEntry?.() ?? null,
    file: item.getAsFile(),
  }));
  return Promise.all(
    entries.map(async ({ entry, file }) => (entry?.isDirectory ? packed(entry.name, await membersOf(entry)) : file)),
  ).then((found) => found.filter((file) => file !== null));
}

/**
 * Return the folder that was chosen with an input that takes folders, packed as one file.
 * @param {File[]} files each with its path in the folder
 * @returns {Promise<File>}
 */
export function chosenFolder(files) {
  const members = files.map((file) => {
    const [, ...parts] = file.webkitRelativePath.split("/");
    return { path: parts.join("/"), file };
  });
  return packed(files[0]?.webkitRelativePath.split("/")[0] || "folder", members.filter(({ path }) => isKept(path)));
}

/** @param {string} path */
function isKept(path) {
  const parts = path.split("/");
  return !parts.some((part) => LEFT_OUT.has(part)) && !path.endsWith(".pyc");
}

/**
 * @param {any} folder a FileSystemDirectoryEntry
 * @returns {Promise<Member[]>}
 */
async function membersOf(folder) {
  /** @type {Member[]} */
  const found = [];
  const waiting = [{ entry: folder, path: "" }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    for (const entry of await children(next.entry)) {
      const path = next.path ? `${next.path}/${entry.name}` : entry.name;
      if (!isKept(path)) continue;
      if (entry.isDirectory) waiting.push({ entry, path });
      else found.push({ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
      if (found.length > MAX_FILES) throw new Error(tooMany(folder.name));
    }
  }
  return found;
}

/** @param {any} folder @returns {Promise<any[]>} */
async function children(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    // a reader gives at most 100 at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    found.push(...some);
  }
}

/** @param {string} name */
function tooMany(name) {
  return `${name}: has more than ${MAX_FILES.toLocaleString("en-US")} files; pack the part that the task needs`;
}

/**
 * @param {string} name
 * @param {Member[]} members
 * @returns {Promise<File>}
 */
async function packed(name, members) {
  if (!members.length) throw new Error(`${name}: has no files`);
  if (members.length > MAX_FILES) throw new Error(tooMany(name));
  const sorted = [...members].sort((one, other) => (one.path < other.path ? -1 : 1));
  const parts = [];
  for (const { path, file } of sorted) parts.push(...tarEntry(path, new Uint8Array(await file.arrayBuffer())));
  parts.push(new Uint8Array(2 * BLOCK));
  const zipped = new Blob(parts).stream().pipeThrough(new CompressionStream("gzip"));
  return new File([await new Response(zipped).blob()], `${name}.tar.gz`, { type: "application/gzip" });
}

/**
 * Return the blocks of one file in a tar archive (POSIX.1-2001): a long path, or one with other letters than ASCII,
 * stands in an extended header before it.
 * @param {string} path
 * @param {Uint8Array<ArrayBuffer>} content
 * @returns {Uint8Array<ArrayBuffer>[]}
 */
export function tarEntry(path, content) {
  const name = new TextEncoder().encode(path);
  const isPlain = name.length <= MAX_NAME_BYTES && name.length === path.length;
  const extended = isPlain ? [] : tarFile("paxheader", record("path", path), "x");
  return [...extended, ...tarFile(isPlain ? path : "file", content, "0")];
}

/** Return "LENGTH name=value\n", whose length counts itself. @param {string} name @param {string} value */
function record(name, value) {
  const rest = new TextEncoder().encode(` ${name}=${value}\n`);
  let digits = String(rest.length).length;
  if (String(rest.length + digits).length > digits) digits += 1;
  return new TextEncoder().encode(`${rest.length + digits} ${name}=${value}\n`);
}

/** @param {string} name @param {Uint8Array<ArrayBuffer>} content @param {"0" | "x"} kind */
function tarFile(name, content, kind) {
  const head = new Uint8Array(BLOCK);
  const write = (/** @type {number} */ at, /** @type {string} */ text) => head.set(new TextEncoder().encode(text), at);
  write(0, name);
  write(100, "0000644\0");
  write(108, "0000000\0");
  write(116, "0000000\0");
  write(124, `${content.length.toString(8).padStart(11, "0")}\0`);
  write(136, "00000000000\0");
  write(148, "        ");
  write(156, kind);
  write(257, "ustar\x0000");
  const sum = head.reduce((total, byte) => total + byte, 0);
  write(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return [head, content, new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK)];
}
