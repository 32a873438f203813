/**
 * Writes shell lines: curl lines of calls of the API, and lines of the octollm command.
 *
 * The lines are for sh and bash. They hold no credential: curl reads the token from $OCTOLLM_TOKEN.
 */

const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;
const MAX_BODY_CHARACTERS = 4000;

/**
 * Returns a text as one word of a shell line, in quotes if it needs them.
 * @param {string} text
 * @returns {string}
 */
export function shellWord(text) {
  return PLAIN.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Returns the curl line of a call. A body of more than 4,000 characters is read from the file body.json instead.
 * @param {string} method
 * @param {string} path begins with a slash
 * @param {unknown} [body] sent as JSON
 * @param {{origin?: string, headers?: Record<string, string>}} [options]
 * @returns {string}
 */
export function curlOf(method, path, body, { origin = globalThis.location?.origin ?? "", headers = {} } = {}) {
  const words = ["curl", "-sS"];
  if (method !== "GET") words.push("-X", method);
  words.push(shellWord(`${origin}${path}`), "-H", '"Authorization: Bearer $OCTOLLM_TOKEN"');
  for (const [name, value] of Object.entries(headers)) words.push("-H", shellWord(`${name}: ${value}`));
  if (body !== undefined && body !== null) {
    const text = JSON.stringify(body);
    const sent = text.length > MAX_BODY_CHARACTERS ? "@body.json" : text;
    words.push("-H", "'Content-Type: application/json'", "--data-binary", shellWord(sent));
  }
  return words.join(" ");
}

/**
 * Returns a line of the octollm command; null and undefined are left out.
 * @param {...(string|null|undefined)} words such as "cancel", "task_1"
 * @returns {string}
 */
export function octollmOf(...words) {
  const given = /** @type {string[]} */ (words.filter((word) => word !== null && word !== undefined));
  return ["octollm", ...given.map(shellWord)].join(" ");
}
