/**
 * Copy on write: a batch of events copies each part of a state at most once, so that its cost is linear in the events,
 * and what did not change is shared with the state before.
 */

/**
 * Return an object without a prototype: names that come from tasks, such as `__proto__`, are ordinary keys of it.
 * @template T
 * @param {Record<string, T>} [from] its first members
 * @returns {Record<string, T>}
 */
export function mapOf(from) {
  return Object.assign(Object.create(null), from);
}

/** The copy of a state to which a batch of events is applied. */
export class Draft {
  /** @param {import("./reduce.js").State} state stays as it is */
  constructor(state) {
    /** @type {WeakSet<object>} */
    this.owned = new WeakSet();
    /** @type {import("./reduce.js").State} */
    this.state = this.add({ ...state });
  }

  /**
   * Say that a value was made in this batch, so that it may be changed.
   * @template {object} T
   * @param {T} value
   * @returns {T}
   */
  add(value) {
    this.owned.add(value);
    return value;
  }

  /**
   * Return a member of an owned parent that may be changed: a copy, unless this batch made it.
   * @template {object} P
   * @template {keyof P} K
   * @param {P} parent
   * @param {K} key
   * @returns {P[K]}
   */
  own(parent, key) {
    const child = /** @type {any} */ (parent[key]);
    if (this.owned.has(child)) return child;
    const copy = Array.isArray(child)
      ? child.slice()
      : Object.assign(Object.create(Object.getPrototypeOf(child)), child);
    parent[key] = this.add(copy);
    return copy;
  }
}
