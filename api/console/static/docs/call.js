// Calls an operation of the API's description, and reads the description itself.

const MOST_CHARACTERS = 100_000;

/** @typedef {{status: number, statusText: string, ms: number, headers: [string, string][], text: string, isCut: boolean}} Answer */

/** @type {Promise<any> | undefined} */
let description;

/** Return the OpenAPI document; it is read once. */
export function openDocument() {
  description ??= fetch("/openapi.json").then((response) => {
    if (!response.ok) throw new Error(`The description can't be read: the server answered ${response.status}.`);
    return response.json();
  });
  return description;
}

/** Return who is signed in, or null. */
export async function readSession() {
  try {
    const response = await fetch("/v1/auth/session", { credentials: "same-origin", cache: "no-store" });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/**
 * Return the address of an operation. Values that are empty are left out of the query; those of the path must be there.
 * @param {string} path such as /v1/tasks/{task_id}
 * @param {{name: string, in: string}[]} parameters
 * @param {Record<string, string>} values
 */
export function addressOf(path, parameters, values) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[`path ${name}`] ?? ""));
  const query = new URLSearchParams();
  for (const { name, in: place } of parameters) {
    const value = values[`query ${name}`];
    if (place === "query" && value) query.set(name, value);
  }
  const text = query.toString();
  return text ? `${filled}?${text}` : filled;
}

/**
 * Send a call, and return its answer as text, at most 100,000 characters of it. A stream is read until it ends.
 * @param {string} method
 * @param {string} address
 * @param {{body: string | Blob | null, headers: Record<string, string>, signal: AbortSignal}} options
 * @returns {Promise<Answer>}
 */
export async function send(method, address, { body, headers, signal }) {
  const begun = performance.now();
  const response = await fetch(address, {
    method: method.toUpperCase(),
    body,
    headers,
    signal,
    credentials: "same-origin",
    cache: "no-store",
    redirect: "manual",
  });
  const { text, isCut } = await bounded(response);
  return {
    status: response.status,
    statusText: response.statusText,
    ms: performance.now() - begun,
    headers: [...response.headers],
    text: pretty(text, isCut, response.headers.get("Content-Type") ?? ""),
    isCut,
  };
}

/** @param {Response} response */
async function bounded(response) {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (reader && text.length < MOST_CHARACTERS) {
    const { done, value } = await reader.read();
    if (done) return { text, isCut: false };
    text += value;
  }
  await reader?.cancel();
  return { text: text.slice(0, MOST_CHARACTERS), isCut: text.length > 0 };
}

/** @param {string} text @param {boolean} isCut @param {string} type */
function pretty(text, isCut, type) {
  if (isCut || !/\bjson\b/.test(type)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
