// Calls the API with the session's cookie.

const DEFAULT_PAUSE_SECONDS = 5;

/** A refused or failed call; status 0: the server can't be reached. retryAfter is in seconds, 0 if a retry can't help. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {{details?: Record<string, any>, retryAfter?: number}} [more]
   */
  constructor(status, code, message, { details = {}, retryAfter = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.details = details;
    this.retryAfter = retryAfter;
  }
}

/** @type {() => void} */
let whenUnauthenticated = () => {};

/**
 * Call `listener` when the API says that nobody is signed in.
 * @param {() => void} listener
 */
export function onUnauthenticated(listener) {
  whenUnauthenticated = listener;
}

/**
 * Read something. With an ETag of an earlier answer, 304 and no data if it is the same as then.
 * @param {string} path
 * @param {{etag?: string | null, signal?: AbortSignal}} [options]
 * @returns {Promise<{status: number, data: any, etag: string | null}>}
 */
export async function get(path, { etag = null, signal } = {}) {
  /** @type {Record<string, string>} */
  const headers = etag ? { "If-None-Match": etag } : {};
  const { response, data } = await call("GET", path, { headers, signal });
  return { status: response.status, data, etag: response.headers.get("ETag") ?? etag };
}

/**
 * Change something. A Blob or a string as body is sent as it is, with the Content-Type of `headers`.
 * @param {string} method
 * @param {string} path
 * @param {any} [body]
 * @param {{headers?: Record<string, string>}} [options]
 * @returns {Promise<{status: number, data: any}>}
 */
export async function send(method, path, body, { headers = {} } = {}) {
  const { response, data } = await call(method, path, { headers: { ...headers }, body });
  return { status: response.status, data };
}

/** A new Idempotency-Key: a request that is sent again with it has its effect once. */
export function newKey() {
  // randomUUID is missing on a page without TLS
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Read a path now and every `everyMs`, while the tab is visible; wait longer if the API asks for it.
 * @param {string} path
 * @param {{everyMs?: number, onData: (data: any) => void, onError?: (error: ApiError) => void}} options
 *   onData is called when the answer changed, and for the first one after an error
 * @returns {() => void} stops it
 */
export function poll(path, { everyMs = 2000, onData, onError = () => {} }) {
  const aborter = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {string | null} */
  let etag = null;
  let isReading = false;

  async function read() {
    if (isReading || document.hidden || aborter.signal.aborted) return;
    isReading = true;
    let pauseMs = everyMs;
    try {
      const answer = await get(path, { etag, signal: aborter.signal });
      etag = answer.etag;
      if (answer.status !== 304) onData(answer.data);
    } catch (error) {
      if (aborter.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      onError(error);
      // so that the next answer reaches onData even if it is the same: the page shows the error until then
      etag = null;
      pauseMs = Math.max(everyMs, error.retryAfter * 1000);
    } finally {
      isReading = false;
    }
    timer = setTimeout(read, pauseMs);
  }

  function onVisibility() {
    if (document.hidden) return;
    clearTimeout(timer);
    read();
  }

  document.addEventListener("visibilitychange", onVisibility);
  read();
  return () => {
    aborter.abort();
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onVisibility);
  };
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{headers: Record<string, string>, body?: any, signal?: AbortSignal}} options
 */
async function call(method, path, { headers, body, signal }) {
  const isRaw = body instanceof Blob || typeof body === "string";
  if (body !== undefined && !isRaw) headers["Content-Type"] = "application/json";
  headers.Accept ??= "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined || isRaw ? body : JSON.stringify(body),
      signal,
      credentials: "same-origin",
      // the browser's cache would answer a 304 as 200, and hide it from us
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The API can't be reached; trying again.", {
      retryAfter: DEFAULT_PAUSE_SECONDS,
    });
  }
  const data = await decoded(response);
  if (response.ok || response.status === 304) return { response, data };
  const failure = failureOf(response, data);
  if (response.status === 401 && !isSignIn(method, path)) whenUnauthenticated();
  throw failure;
}

/** @param {string} method @param {string} path */
function isSignIn(method, path) {
  return method === "POST" && path === "/v1/auth/session";
}

/** @param {Response} response */
async function decoded(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (response.status === 204 || response.status === 304) return null;
  const text = await response.text();
  if (!/\bjson\b/.test(type)) return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(response.status, "malformed_answer", "The API's answer was cut off; try again.", {
      retryAfter: DEFAULT_PAUSE_SECONDS,
    });
  }
}

/** @param {Response} response @param {any} data */
function failureOf(response, data) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  if (data && typeof data === "object" && typeof data.code === "string") {
    return new ApiError(response.status, data.code, String(data.message), {
      details: data.details ?? {},
      retryAfter,
    });
  }
  // a proxy's own page
  const isPassing = response.status >= 500;
  return new ApiError(response.status, `http_${response.status}`, `The server answered ${response.status}.`, {
    retryAfter: retryAfter || (isPassing ? DEFAULT_PAUSE_SECONDS : 0),
  });
}
