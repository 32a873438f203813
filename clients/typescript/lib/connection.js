/** Sends requests: the credential, what to send again and when, and the errors. */

import { ApiError, ConnectionFailed, classOfStatus } from "./errors.js";
import { BY_CODE } from "./problems.js";

const RENEW_SECONDS = 30;
const AWAY = [502, 503, 504];
const FIRST_PAUSE = 0.5;
const LONGEST_PAUSE = 8;

/** @typedef {import("./table.js").Operation} Operation */
/**
 * A request: `query` without what is null or undefined, `body` as JSON or `content` as it is.
 * @typedef {{verb: string, path: string, query?: Record<string, any>, body?: any, content?: Blob | Uint8Array,
 *   contentType?: string, accept?: string, idempotencyKey?: string, isIdempotent?: boolean,
 *   answerStatuses?: number[], credential?: "token" | "key" | "none", seconds?: number,
 *   signal?: AbortSignal}} Call
 */

/** @type {Call} */
const EXCHANGE = { verb: "POST", path: "/v1/auth/token", isIdempotent: true, credential: "key" };

export class Connection {
  #key;
  /** @type {string | undefined} */
  #token;
  #renewAt = Infinity;

  /** @param {import("./index.js").ClientOptions} options */
  constructor({ url, apiKey, token, timeoutSeconds = 30, maxRetries = 6, maxRetrySeconds = 90, fetch }) {
    const given = /** @type {any} */ (globalThis).process?.env ?? {};
    if (apiKey === undefined && token === undefined) {
      apiKey = given.OCTOLLM_API_KEY || undefined;
      token = apiKey ? undefined : given.OCTOLLM_TOKEN || undefined;
    }
    if (apiKey && token) throw new TypeError("Give an API key or a token, not both.");
    const address = new URL(url ?? (given.OCTOLLM_URL || "http://127.0.0.1:8000"));
    if (!/^https?:$/.test(address.protocol)) throw new TypeError(`${address} must begin with http:// or https://`);
    this.url = address.href.replace(/\/$/, "").replace(/\/v1$/, "");
    this.timeoutSeconds = timeoutSeconds;
    this.maxRetries = maxRetries;
    this.maxRetrySeconds = maxRetrySeconds;
    this.fetch = fetch ?? globalThis.fetch.bind(globalThis);
    this.#key = apiKey;
    this.#token = token;
  }

  /**
   * Send a request and return the response, whose body is not read yet.
   * @param {Call} call
   * @returns {Promise<Response>}
   */
  async send(call) {
    if (call.verb === "POST" && !call.idempotencyKey) call = { ...call, idempotencyKey: crypto.randomUUID() };
    let renewed = false;
    for (let retries = 0, spent = 0; ; ) {
      const failure = await this.#attempt(call);
      if (failure instanceof Response) return failure;
      const isEnded = failure instanceof ApiError && failure.status === 401;
      if (isEnded && (call.credential ?? "token") === "token" && this.#key && !renewed) {
        // revoked, or signed with a key that the server has no more: a new token may do
        this.#token = undefined;
        renewed = true;
        continue;
      }
      const asked = failure instanceof ApiError ? failure.retryAfter : null;
      const seconds = asked || backoff(retries);
      if (retries >= this.maxRetries || spent + seconds > this.maxRetrySeconds || !mayRepeat(failure, call)) {
        throw failure;
      }
      retries += 1;
      spent += seconds;
      await pause(seconds, call.signal);
    }
  }

  /** @param {Call} call @returns {Promise<any>} */
  async json(call) {
    const response = await this.send(call);
    return this.read(response, async () => {
      const text = await response.text();
      try {
        return JSON.parse(text);
      } catch (cause) {
        const message = `${this.url} answered ${response.status} without JSON: is it an OctoLLM server?`;
        throw new ConnectionFailed(message, { wasSent: true, cause });
      }
    });
  }

  /**
   * Read a response's body.
   * @template R
   * @param {Response} response
   * @param {() => Promise<R>} reading
   * @returns {Promise<R>}
   */
  async read(response, reading) {
    try {
      return await reading();
    } catch (cause) {
      if (cause instanceof ConnectionFailed) throw cause;
      throw new ConnectionFailed(`${this.url} sent only a part of an answer: ${reasonOf(cause)}`, {
        wasSent: true,
        cause,
      });
    }
  }

  /** @param {Call} call @returns {Promise<Response | ApiError | ConnectionFailed>} */
  async #attempt(call) {
    const headers = await this.#headers(call);
    let body = call.content;
    if (call.body !== undefined) body = new TextEncoder().encode(JSON.stringify(call.body));
    const limit = AbortSignal.timeout((call.seconds ?? this.timeoutSeconds) * 1000);
    const signal = call.signal ? AbortSignal.any([limit, call.signal]) : limit;
    const address = this.url + call.path + queryOf(call.query ?? {});
    let response;
    try {
      response = await this.fetch(address, {
        method: call.verb,
        headers,
        body: /** @type {BodyInit | undefined} */ (body),
        signal,
        redirect: "manual",
      });
      if (response.status < 400 || call.answerStatuses?.includes(response.status)) return response;
      return errorOf(response, await response.text());
    } catch (cause) {
      if (call.signal?.aborted) throw call.signal.reason;
      const message = `${this.url} does not answer: ${reasonOf(cause)}. Does the server run, and is OCTOLLM_URL its address?`;
      return new ConnectionFailed(message, { wasSent: !isRefused(cause), cause });
    }
  }

  /** @param {Call} call @returns {Promise<Record<string, string>>} */
  async #headers(call) {
    /** @type {Record<string, string>} */
    const headers = { Accept: call.accept ?? "application/json" };
    const credential = call.credential ?? "token";
    if (credential === "key" && this.#key) headers["X-API-Key"] = this.#key;
    if (credential === "token") {
      const token = await this.#currentToken();
      if (token) headers.Authorization = `Bearer ${token}`;
    }
    if (call.idempotencyKey) headers["Idempotency-Key"] = call.idempotencyKey;
    if (call.body !== undefined || call.content) headers["Content-Type"] = call.contentType ?? "application/json";
    return headers;
  }

  /** @returns {Promise<string | undefined>} */
  async #currentToken() {
    if (this.#key && (this.#token === undefined || performance.now() >= this.#renewAt)) {
      const granted = await this.json(EXCHANGE);
      const seconds = Math.max(granted.expires_in - RENEW_SECONDS, granted.expires_in / 2);
      this.#token = granted.access_token;
      this.#renewAt = performance.now() + seconds * 1000;
    }
    return this.#token;
  }
}

/**
 * How long to wait after so many failures, in seconds, less up to half of it by chance.
 * @param {number} failures
 */
export function backoff(failures) {
  return Math.min(FIRST_PAUSE * 2 ** failures, LONGEST_PAUSE) * (0.5 + Math.random() / 2);
}

/** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** @param {ApiError | ConnectionFailed} failure @param {Call} call */
function mayRepeat(failure, call) {
  if (failure instanceof ConnectionFailed) return call.isIdempotent || !failure.wasSent;
  // our server says whether a retry can help, and has done nothing then
  if (failure.isProblem) return failure.retryable;
  return failure.status === 429 || (AWAY.includes(failure.status) && call.isIdempotent);
}

/** @param {Response} response @param {string} text @returns {ApiError} */
function errorOf(response, text) {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    problem = null;
  }
  const members = problem && typeof problem === "object" ? problem : {};
  const kind = (Object.hasOwn(BY_CODE, members.code) && BY_CODE[members.code]) || classOfStatus(response.status);
  return new kind(members, response.status, secondsOf(response.headers.get("Retry-After")));
}

/** @param {string | null} text @returns {number | null} */
function secondsOf(text) {
  if (!text) return null;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max((at - Date.now()) / 1000, 0);
}

/** @param {Record<string, any>} query */
function queryOf(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** @param {any} cause */
function reasonOf(cause) {
  return String(cause?.cause?.code ?? cause?.cause?.message ?? cause?.message ?? cause);
}

/** Whether no connection was made, as far as fetch tells. @param {any} cause */
function isRefused(cause) {
  return ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"].includes(cause?.cause?.code);
}
