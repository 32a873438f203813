/** The client of OctoLLM: `new Client()`; its methods are those of the API, with what takes more than one call. */

import { Connection, backoff, pause } from "./connection.js";
import { ConnectionFailed, OctollmError, TaskFailed, WaitTimeout } from "./errors.js";
import { OPERATIONS } from "./table.js";

export * from "./errors.js";
export * from "./problems.js";

const FINAL = ["completed", "failed", "cancelled"];
// the longest that the server lets a caller wait
const WAIT_SECONDS = 30;
const LAST_EVENTS = FINAL.map((status) => `task.${status}`);
const LONGEST_TIMER_SECONDS = 2_000_000;
const POLL_SECONDS = 1;
// the server pings every 15 s
const SILENCE_SECONDS = 40;
// a server that sends more without an event's end is not ours
const MAX_EVENT_CHARACTERS = 16 * 1024 * 1024;

/** @typedef {import("./connection.js").Call} Call */

export class Client {
  #connection;

  /** @param {import("./index.js").ClientOptions} [options] */
  constructor(options = {}) {
    const connection = new Connection(options);
    this.#connection = connection;
    /** @type {Record<string, any>} */
    const groups = this;
    for (const [group, operations] of Object.entries(OPERATIONS)) {
      groups[group] = {};
      for (const [name, operation] of Object.entries(operations)) {
        const read = operation.reads ?? "json";
        groups[group][name] = (/** @type {any[]} */ ...given) => answer(connection, callOf(operation, given), read);
        if (operation.items) {
          const iterate = name === "list" ? "iterate" : `iterate${name[0].toUpperCase()}${name.slice(1)}`;
          groups[group][iterate] = (/** @type {any[]} */ ...given) => pages(connection, operation, given);
        }
      }
    }
    Object.assign(groups.tasks, {
      wait: (/** @type {string} */ id, how = {}) => wait(connection, id, how),
      events: (/** @type {string} */ id, how = {}) => events(connection, id, how),
    });
    Object.assign(groups.files, {
      upload: (/** @type {Blob | Uint8Array} */ content, how = {}) => upload(connection, content, how),
      download: (/** @type {string} */ id) => download(connection, id),
      stream: (/** @type {string} */ id) => stream(connection, id),
    });
  }

  /**
   * Upload files, submit a task that reads them, wait for its end, and return it with its result.
   * @param {string} goal
   * @param {any} [options]
   */
  async run(goal, { files = [], timeoutSeconds, signal, idempotencyKey, ...contract } = {}) {
    const attachments = [...(contract.attachments ?? [])];
    for (const file of files) attachments.push((await upload(this.#connection, file, {})).artifact_id);
    const body = { ...contract, goal, ...(files.length ? { attachments } : {}) };
    const submit = { verb: "POST", path: "/v1/tasks", body, isIdempotent: true, idempotencyKey, signal };
    const accepted = await this.#connection.json(submit);
    const task = await wait(this.#connection, accepted.task_id, { timeoutSeconds, signal });
    if (task.status !== "completed") throw new TaskFailed(task);
    return task;
  }
}

/** @param {Connection} connection @param {Call} call @param {"json" | "text" | "nothing"} read */
async function answer(connection, call, read) {
  if (read === "json") return connection.json(call);
  const response = await connection.send(call);
  const text = await connection.read(response, () => response.text());
  return read === "text" ? text : undefined;
}

/**
 * The request of a method: what the path names, what the body must have if that is one member, then the options.
 * @param {import("./table.js").Operation} operation
 * @param {any[]} given
 * @returns {Call}
 */
function callOf(operation, given) {
  const rest = [...given];
  const path = (operation.parameters ?? []).reduce(
    (known, name) => known.replace(`{${name}}`, () => segment(name, rest.shift())),
    operation.path,
  );
  /** @type {Record<string, any>} */
  const body = operation.member ? { [operation.member]: rest.shift() } : {};
  Object.assign(body, operation.fixed);
  const { idempotencyKey, ...options } = rest.shift() ?? {};
  /** @type {Record<string, any>} */
  const query = {};
  for (const [name, value] of Object.entries(options)) {
    if (operation.query?.includes(name)) query[name] = value;
    else if (operation.hasBody) body[name] = value;
    else throw new TypeError(`${operation.verb} ${operation.path} has no option ${name}`);
  }
  const sendsBody = operation.hasBody && (operation.isBodyRequired || Object.keys(body).length > 0);
  const { verb, isIdempotent, answerStatuses, credential } = operation;
  return { verb, path, query, body: sendsBody ? body : undefined, idempotencyKey, isIdempotent, answerStatuses, credential };
}

/** @param {string} name @param {any} value */
function segment(name, value) {
  if (typeof value !== "string" || ["", ".", ".."].includes(value)) {
    throw new TypeError(`${name} is ${JSON.stringify(value)}: it must name something`);
  }
  return encodeURIComponent(value);
}

/** @param {string} taskId @param {string} [tail] */
function taskPath(taskId, tail = "") {
  return `/v1/tasks/${segment("task_id", taskId)}${tail}`;
}

/** @param {Connection} connection @param {import("./table.js").Operation} operation @param {any[]} given */
async function* pages(connection, operation, given) {
  const call = callOf(operation, given);
  for (let cursor = call.query?.cursor; ; ) {
    const page = await connection.json({ ...call, query: { ...call.query, cursor } });
    yield* page[/** @type {string} */ (operation.items)];
    cursor = page.next_cursor;
    if (!cursor) return;
  }
}

/**
 * @param {Connection} connection
 * @param {string} taskId
 * @param {{timeoutSeconds?: number, signal?: AbortSignal}} how
 * @returns {Promise<import("./types.js").Status>}
 */
async function wait(connection, taskId, { timeoutSeconds = Infinity, signal }) {
  const until = performance.now() + timeoutSeconds * 1000;
  for (;;) {
    const askedAt = performance.now();
    const seconds = Math.max(0, Math.min(WAIT_SECONDS, Math.floor((until - askedAt) / 1000)));
    const task = await connection.json({
      verb: "GET",
      path: taskPath(taskId),
      query: { wait: seconds },
      isIdempotent: true,
      seconds: seconds + connection.timeoutSeconds,
      signal,
    });
    if (FINAL.includes(task.status)) return task;
    const left = (until - performance.now()) / 1000;
    if (left <= 0) throw new WaitTimeout(task, timeoutSeconds);
    // a server without room for another waiting caller answers at once
    if (performance.now() - askedAt < POLL_SECONDS * 1000) await pause(Math.min(POLL_SECONDS, left), signal);
  }
}

/**
 * @param {Connection} connection
 * @param {string} taskId
 * @param {{after?: number, progress?: boolean, signal?: AbortSignal}} how
 * @returns {AsyncGenerator<import("./types.js").Event, void>}
 */
async function* events(connection, taskId, { after = 0, progress, signal }) {
  for (let failures = 0; ; ) {
    const silence = new Silence();
    const known = after;
    try {
      const response = await connection.send({
        verb: "GET",
        path: taskPath(taskId, "/events"),
        query: { after, progress: progress || undefined },
        accept: "text/event-stream",
        isIdempotent: true,
        // a stream lasts as long as its task; silence ends it
        seconds: LONGEST_TIMER_SECONDS,
        signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
      });
      if (response.status === 204) return;
      for await (const event of eventsOf(response, silence)) {
        if (event.seq !== undefined) {
          if (event.seq <= after) continue;
          after = event.seq;
        }
        yield event;
        if (LAST_EVENTS.includes(event.type)) return;
      }
      failures = 0;
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      // of the server's answer, or after all retries
      if (cause instanceof OctollmError) throw cause;
      failures = after > known ? 0 : failures + 1;
      if (failures > connection.maxRetries) {
        throw new ConnectionFailed(`${connection.url} cuts the stream again and again`, { wasSent: true, cause });
      }
    } finally {
      silence.end();
    }
    await pause(failures ? backoff(failures) : 1, signal);
  }
}

/** Aborts a stream from which nothing was heard for some time, and at its end. */
class Silence {
  #controller = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  signal = this.#controller.signal;

  constructor() {
    this.heard();
  }

  heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), SILENCE_SECONDS * 1000);
  }

  end() {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }
}

/**
 * Server-sent events (WHATWG HTML, 9.2), however the stream is cut; one whose end has not arrived is not given.
 * @param {Response} response
 * @param {Silence} silence
 */
async function* eventsOf(response, silence) {
  const decoder = new TextDecoder();
  let rest = "";
  /** @type {string[]} */
  let data = [];
  for await (const chunk of /** @type {any} */ (response.body)) {
    silence.heard();
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_EVENT_CHARACTERS) throw new OctollmError("The server sends an event without an end.");
    for (const line of lines) {
      const text = line.replace(/\r$/, "");
      if (text.startsWith("data:")) data.push(text.slice(5).replace(/^ /, ""));
      else if (!text && data.length) {
        yield JSON.parse(data.join("\n"));
        data = [];
      }
    }
  }
}

/**
 * @param {Connection} connection
 * @param {Blob | Uint8Array} content
 * @param {{filename?: string, mediaType?: string}} how
 */
async function upload(connection, content, { filename, mediaType }) {
  return connection.json({
    verb: "POST",
    path: "/v1/files",
    query: { filename: filename ?? /** @type {any} */ (content).name },
    content,
    contentType: mediaType || /** @type {any} */ (content).type || "application/octet-stream",
    isIdempotent: true,
  });
}

/** @param {Connection} connection @param {string} artifactId */
async function stream(connection, artifactId) {
  const path = `/v1/files/${segment("artifact_id", artifactId)}`;
  const response = await connection.send({ verb: "GET", path, accept: "*/*", isIdempotent: true });
  return response.body;
}

/**
 * The file's bytes; begin again if the connection is lost.
 * @param {Connection} connection
 * @param {string} artifactId
 */
async function download(connection, artifactId) {
  for (let failures = 0; ; failures += 1) {
    const path = `/v1/files/${segment("artifact_id", artifactId)}`;
    const response = await connection.send({ verb: "GET", path, accept: "*/*", isIdempotent: true });
    try {
      return new Uint8Array(await connection.read(response, () => response.arrayBuffer()));
    } catch (failure) {
      if (failures >= connection.maxRetries) throw failure;
      await pause(backoff(failures));
    }
  }
}
