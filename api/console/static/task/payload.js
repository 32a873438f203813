/** Reads members of an event's data, which may be anything: what is not of the wanted kind is null, or empty. */

/**
 * @param {unknown} value
 * @returns {string|null} the value if it is a text
 */
export function text(value) {
  return typeof value === "string" ? value : null;
}

/**
 * @param {unknown} value
 * @returns {number|null} the value if it is a finite number
 */
export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/**
 * @param {unknown} value
 * @returns {Record<string, any>} the value if it is an object, else an empty one
 */
export function object(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

/**
 * @param {unknown} value
 * @returns {any[]} the value if it is a list, else an empty one
 */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/**
 * @param {unknown} value
 * @returns {string[]} the texts of a list
 */
export function texts(value) {
  return list(value).filter((item) => typeof item === "string");
}

/**
 * @param {unknown} value a time in ISO 8601
 * @returns {number|null} in milliseconds since 1970
 */
export function time(value) {
  const at = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? null : at;
}
