/**
 * Tells how a value is best shown, and takes it apart for that: a table, a unified diff, the rows of a tree.
 *
 * Pure: it never touches the page. Values come from tasks, so nothing in them is trusted and every answer is bounded.
 */

export const MAX_COLUMNS = 50;
const MAX_LOOKED_AT = 200;

/**
 * @typedef {{columns: string[], rows: unknown[][], total: number}} TableValue total: how many rows there are
 * @typedef {{kind: "file"|"hunk"|"add"|"remove"|"same"|"note", text: string, before: number|null, after: number|null}} DiffLine
 *   before, after: the line's number in the old and the new file
 * @typedef {{path: string, key: string|null, depth: number, value: unknown, size: number|null, open: boolean}} TreeRow
 *   path: a JSON pointer; size: how many members a list or an object has; null for any other value
 */

/**
 * Return how a value is best shown.
 * @param {unknown} value
 * @returns {"text"|"diff"|"table"|"tree"|"plain"}
 */
export function shapeOf(value) {
  if (typeof value === "string") return isDiff(value) ? "diff" : value.length > 80 || value.includes("\n") ? "text" : "plain";
  if (value === null || typeof value !== "object") return "plain";
  return tableOf(value) ? "table" : "tree";
}

/**
 * Return a list of objects, or an object {columns, rows}, as a table; null for any other value.
 * @param {unknown} value
 * @returns {TableValue|null}
 */
export function tableOf(value) {
  if (Array.isArray(value)) return value.length > 0 && value.slice(0, MAX_LOOKED_AT).every(isRecord) ? ofRecords(value) : null;
  if (!isRecord(value)) return null;
  const { columns, rows } = /** @type {any} */ (value);
  if (!Array.isArray(columns) || !Array.isArray(rows) || columns.length === 0) return null;
  const names = columns.slice(0, MAX_COLUMNS).map((one) => String(isRecord(one) ? (/** @type {any} */ (one).name ?? "") : one));
  if (rows.slice(0, MAX_LOOKED_AT).every(Array.isArray)) {
    return { columns: names, rows: rows.map((row) => names.map((_, index) => row?.[index])), total: rows.length };
  }
  if (!rows.slice(0, MAX_LOOKED_AT).every(isRecord)) return null;
  return { columns: names, rows: rows.map((row) => names.map((name) => row?.[name])), total: rows.length };
}

/** @param {any[]} records */
function ofRecords(records) {
  const names = new Set();
  for (const one of records.slice(0, MAX_LOOKED_AT)) {
    for (const name of Object.keys(one)) if (names.size < MAX_COLUMNS) names.add(name);
  }
  if (names.size === 0) return null;
  const columns = [...names];
  return { columns, rows: records.map((one) => columns.map((name) => one?.[name])), total: records.length };
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
function isRecord(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/**
 * Return the rows in the order of a column: numbers by size, texts by letters, what is missing last.
 * @param {unknown[][]} rows
 * @param {number} column
 * @param {"ascending"|"descending"} direction
 */
export function sortedBy(rows, column, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  return rows
    .map((row, index) => ({ row, index, value: row[column] }))
    .sort((one, other) => {
      const isMissing = Number(one.value === null || one.value === undefined) - Number(other.value === null || other.value === undefined);
      return isMissing || sign * compared(one.value, other.value) || one.index - other.index;
    })
    .map(({ row }) => row);
}

/** @param {unknown} one @param {unknown} other */
function compared(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  const [first, second] = [brief(one), brief(other)];
  return first < second ? -1 : first > second ? 1 : 0;
}

/**
 * Return a value on one line, cut to a length.
 * @param {unknown} value
 * @param {number} [length]
 */
export function brief(value, length = 200) {
  if (value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/**
 * Tell whether a text is a unified diff.
 * @param {string} text
 */
export function isDiff(text) {
  const head = text.slice(0, 4000);
  return /^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@/m.test(head) && /^--- /m.test(head) && /^\+\+\+ /m.test(head);
}

/**
 * Return the lines of a unified diff, with their numbers in both files.
 * @param {string} text
 * @returns {DiffLine[]}
 */
export function diffLines(text) {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  // how many lines of the old and the new file the hunk still has: what begins with "--- " may be a removed line
  let [before, after, oldLeft, newLeft] = [0, 0, 0, 0];
  return lines.map((line) => {
    const isInHunk = oldLeft > 0 || newLeft > 0;
    const hunk = isInHunk ? null : /^@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@/.exec(line);
    if (hunk) {
      [before, after] = [Number(hunk[1]), Number(hunk[3])];
      [oldLeft, newLeft] = [Number(hunk[2] ?? 1), Number(hunk[4] ?? 1)];
      return { kind: "hunk", text: line, before: null, after: null };
    }
    if (!isInHunk) return { kind: /^(?:diff |index |--- |\+\+\+ )/.test(line) ? "file" : "note", text: line, before: null, after: null };
    if (line.startsWith("+") && newLeft-- > 0) return { kind: "add", text: line.slice(1), before: null, after: after++ };
    if (line.startsWith("-") && oldLeft-- > 0) return { kind: "remove", text: line.slice(1), before: before++, after: null };
    if (line.startsWith("\\")) return { kind: "note", text: line, before: null, after: null };
    [oldLeft, newLeft] = [oldLeft - 1, newLeft - 1];
    return { kind: "same", text: line.slice(1), before: before++, after: after++ };
  });
}

/**
 * Return a diff's lines in pairs, the old one beside the new one.
 * @param {DiffLine[]} lines
 * @returns {[DiffLine|null, DiffLine|null][]}
 */
export function sideBySide(lines) {
  /** @type {[DiffLine|null, DiffLine|null][]} */
  const pairs = [];
  /** @type {DiffLine[]} */
  let removed = [];
  for (const line of lines) {
    if (line.kind === "remove") removed.push(line);
    else if (line.kind === "add") pairs.push([removed.shift() ?? null, line]);
    else {
      pairs.push(...removed.map((one) => /** @type {[DiffLine, null]} */ ([one, null])));
      removed = [];
      pairs.push([line, line]);
    }
  }
  return [...pairs, ...removed.map((one) => /** @type {[DiffLine, null]} */ ([one, null]))];
}

/**
 * Return the visible rows of a value as a tree, at most `limit`, and whether there are more.
 * @param {unknown} value
 * @param {{isOpen: (path: string, depth: number) => boolean, limit: number}} options
 * @returns {{rows: TreeRow[], more: boolean}}
 */
export function treeRows(value, { isOpen, limit }) {
  /** @type {TreeRow[]} */
  const rows = [];
  /** @type {{path: string, key: string|null, depth: number, value: unknown}[]} */
  const waiting = [{ path: "", key: null, depth: 0, value }];
  while (waiting.length > 0 && rows.length < limit) {
    const node = /** @type {{path: string, key: string|null, depth: number, value: unknown}} */ (waiting.pop());
    const isList = Array.isArray(node.value);
    const size = isList ? /** @type {unknown[]} */ (node.value).length : isRecord(node.value) ? Object.keys(node.value).length : null;
    const open = size !== null && size > 0 && isOpen(node.path, node.depth);
    rows.push({ ...node, size, open });
    if (!open) continue;
    // only as many as can be shown are taken
    const names = (isList ? [.../** @type {unknown[]} */ (node.value).keys()].map(String) : Object.keys(/** @type {any} */ (node.value))).slice(0, limit);
    for (const name of names.reverse()) {
      waiting.push({ path: `${node.path}/${escaped(name)}`, key: name, depth: node.depth + 1, value: /** @type {any} */ (node.value)[name] });
    }
  }
  return { rows, more: waiting.length > 0 };
}

/** @param {string} name */
function escaped(name) {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

/**
 * Return the value at a JSON pointer; undefined if there is none.
 * @param {unknown} value
 * @param {string} pointer
 */
export function valueAt(value, pointer) {
  let node = /** @type {any} */ (value);
  for (const token of pointer.split("/").slice(1)) {
    const name = token.replaceAll("~1", "/").replaceAll("~0", "~");
    if (node === null || typeof node !== "object" || !Object.hasOwn(node, name)) return undefined;
    node = node[name];
  }
  return node;
}

/**
 * Return the pointer of the first text in a value that holds a quote; null if none does.
 * @param {unknown} value
 * @param {string} quote
 * @param {number} [maxNodes]
 */
export function pointerOfQuote(value, quote, maxNodes = 20_000) {
  /** @type {[string, unknown][]} */
  const waiting = [["", value]];
  for (let seen = 0; waiting.length > 0 && seen < maxNodes; seen++) {
    const [path, node] = /** @type {[string, unknown]} */ (waiting.pop());
    if (typeof node === "string" && node.includes(quote)) return path;
    if (node === null || typeof node !== "object") continue;
    for (const [name, child] of Object.entries(node).reverse()) waiting.push([`${path}/${escaped(name)}`, child]);
  }
  return null;
}
