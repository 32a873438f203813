// Reads JSON strictly and keeps where each value stands, so that a JSON pointer leads to a place in the text.

/** As on the server. */
export const MAX_DEPTH = 64;

const SPACE = new Set([" ", "\t", "\n", "\r"]);
const LITERAL = /(?:true|false|null)(?![\w$])/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.+-])/y;

/**
 * Where a value stands: offsets in UTF-16 units, `end` excluded; `name` is where its member's name begins.
 * @typedef {{start: number, end: number, name: number, items: Place[] | null, members: Map<string, Place> | null}} Place
 * @typedef {{message: string, offset: number}} Malformed
 */

class MalformedJson extends Error {
  /** @param {string} message @param {number} offset */
  constructor(message, offset) {
    super(message);
    this.offset = offset;
  }
}

/**
 * Return the places of a text's values, or the first thing that makes it no JSON. Takes time and memory in
 * proportion to the text.
 * @param {string} text
 * @returns {{root: Place, malformed: null} | {root: null, malformed: Malformed}}
 */
export function readPlaces(text) {
  const reader = new Reader(text);
  try {
    const root = reader.value(0);
    reader.skip();
    if (reader.at < text.length) throw reader.wrong("the end of the text");
    return { root, malformed: null };
  } catch (error) {
    if (!(error instanceof MalformedJson)) throw error;
    return { root: null, malformed: { message: error.message, offset: error.offset } };
  }
}

/**
 * Return the deepest place of a JSON pointer's path that exists.
 * @param {Place} root
 * @param {string} pointer
 * @returns {Place}
 */
export function placeAt(root, pointer) {
  let place = root;
  for (const token of pointer.split("/").slice(1)) {
    const name = token.replaceAll("~1", "/").replaceAll("~0", "~");
    const next = place.members?.get(name) ?? (/^\d+$/.test(name) ? place.items?.[Number(name)] : undefined);
    if (!next) return place;
    place = next;
  }
  return place;
}

/**
 * Return a function that gives the line of an offset, from 1 on.
 * @param {string} text
 * @returns {(offset: number) => number}
 */
export function lineNumbers(text) {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (/** @type {number} */ (starts[middle]) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  /**
   * @param {number} depth the containers around the value
   * @param {number} [name] where the name of the value's member begins
   * @returns {Place}
   */
  value(depth, name) {
    this.skip();
    const start = this.at;
    const place = { start, end: start, name: name ?? start, items: null, members: null };
    const sign = this.text[start];
    if (sign === "{" || sign === "[") {
      if (depth === MAX_DEPTH) throw new MalformedJson(`is nested deeper than ${MAX_DEPTH} levels`, start);
      this.at += 1;
      if (sign === "{") this.readMembers(place, depth + 1);
      else this.readItems(place, depth + 1);
    } else if (sign === '"') {
      this.string();
    } else if (!this.matches(LITERAL) && !this.matches(NUMBER)) {
      throw this.wrong("a value");
    }
    place.end = this.at;
    return place;
  }

  /** @param {any} place @param {number} depth */
  readMembers(place, depth) {
    place.members = new Map();
    if (this.takes("}")) return;
    do {
      this.skip();
      const start = this.at;
      if (this.text[start] !== '"') throw this.wrong('a name in "quotes"');
      const name = this.string();
      if (place.members.has(name)) throw new MalformedJson(`the member ${JSON.stringify(name)} is there twice`, start);
      if (!this.takes(":")) throw this.wrong('":"');
      place.members.set(name, this.value(depth, start));
    } while (this.takes(","));
    if (!this.takes("}")) throw this.wrong('"," or "}"');
  }

  /** @param {any} place @param {number} depth */
  readItems(place, depth) {
    place.items = [];
    if (this.takes("]")) return;
    do place.items.push(this.value(depth));
    while (this.takes(","));
    if (!this.takes("]")) throw this.wrong('"," or "]"');
  }

  /** Return the string that begins here. */
  string() {
    const start = this.at;
    let at = start + 1;
    for (; this.text[at] !== '"'; at += 1) {
      const code = this.text.charCodeAt(at);
      if (Number.isNaN(code)) throw new MalformedJson('this string has no end: "', start);
      if (code < 0x20) throw new MalformedJson("a string has a control character or a line break in it", at);
      if (code === 0x5c) at += 1;
    }
    this.at = at + 1;
    try {
      return /** @type {string} */ (JSON.parse(this.text.slice(start, this.at)));
    } catch {
      throw new MalformedJson("a string has a wrong escape in it", start);
    }
  }

  /** @param {RegExp} pattern a sticky one */
  matches(pattern) {
    pattern.lastIndex = this.at;
    if (!pattern.test(this.text)) return false;
    this.at = pattern.lastIndex;
    return true;
  }

  /** @param {string} sign */
  takes(sign) {
    this.skip();
    if (this.text[this.at] !== sign) return false;
    this.at += 1;
    return true;
  }

  skip() {
    while (SPACE.has(/** @type {string} */ (this.text[this.at]))) this.at += 1;
  }

  /** @param {string} wanted */
  wrong(wanted) {
    const found = this.at < this.text.length ? JSON.stringify(this.text[this.at]) : "the end";
    return new MalformedJson(`expected ${wanted}, not ${found}`, Math.min(this.at, this.text.length));
  }
}
