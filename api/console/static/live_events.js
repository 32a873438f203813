/**
 * Follows the events of one task: first in pages, then by a WebSocket, which is closed while the tab is hidden. Whatever
 * ends a connection, the next one begins after the last event that came: none is lost or given twice.
 */

import { ApiError, get } from "./api_client.js";

const PAGE = 1000;
const PING_MS = 10_000;
const SILENT_MS = 25_000;
const LEAST_PAUSE_MS = 1000;
const MOST_PAUSE_MS = 15_000;
const GONE = 4404;
const ENDS = new Set(["task.completed", "task.failed", "task.cancelled"]);

/**
 * @typedef {import("./task/reduce.js").TaskEvent} TaskEvent
 *
 * @typedef {object} Connection what is known of the connection, not what is hoped
 * @property {"loading"|"live"|"reconnecting"|"hidden"|"ended"|"gone"} state ended: the task's last event came; gone:
 *   there is no such task
 * @property {number|null} heardAt when the server was heard last, by this computer's clock; null: not yet
 * @property {number|null} retryAt when the next attempt to connect begins
 * @property {string} reason why the connection ended
 *
 * @typedef {object} Listener
 * @property {(events: TaskEvent[], isLive: boolean) => boolean} onEvents gets new events in order, and tells whether
 *   they follow what came before; isLive: they came by the stream
 * @property {() => number} lastSeq the number of the last event that came
 * @property {(connection: Connection) => void} onConnection
 */

/** A connection that lasts until it is stopped or the task has ended. */
export class LiveEvents {
  /**
   * @param {string} taskId
   * @param {Listener} listener
   */
  constructor(taskId, listener) {
    this.path = `/v1/tasks/${encodeURIComponent(taskId)}`;
    this.listener = listener;
    /** @type {Connection} */
    this.connection = { state: "loading", heardAt: null, retryAt: null, reason: "" };
    this.failures = 0;
    this.hasEnded = false;
    /** @type {WebSocket|null} */
    this.socket = null;
    /** @type {AbortController|null} */
    this.reading = null;
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    this.retryTimer = undefined;
    /** @type {ReturnType<typeof setInterval>|undefined} */
    this.pingTimer = undefined;
    this.onVisibility = () => (document.hidden ? this.pause() : this.resume());
    this.onOnline = () => this.connection.state === "reconnecting" && this.resume();
  }

  /** Begin; call it once. */
  start() {
    document.addEventListener("visibilitychange", this.onVisibility);
    window.addEventListener("online", this.onOnline);
    if (document.hidden) this.pause();
    else this.open();
  }

  /** End for good. */
  stop() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    window.removeEventListener("online", this.onOnline);
    this.hasEnded = true;
    this.drop();
  }

  /** Close the connection of a hidden tab. */
  pause() {
    if (this.hasEnded) return;
    this.drop();
    this.say({ state: "hidden", retryAt: null, reason: "" });
  }

  /** Connect now, without waiting for the next attempt. */
  resume() {
    if (this.hasEnded || this.socket || this.reading) return;
    this.drop();
    this.open();
  }

  /** Read the events that are missing, then open the stream. */
  async open() {
    const reading = new AbortController();
    this.reading = reading;
    try {
      while (await this.readPage(reading.signal)) if (reading.signal.aborted) return;
    } catch (error) {
      if (reading.signal.aborted) return;
      this.reading = null;
      this.failed(error);
      return;
    }
    this.reading = null;
    if (!reading.signal.aborted && !this.hasEnded) this.openSocket();
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} whether there may be another page
   */
  async readPage(signal) {
    const { data } = await get(`${this.path}/events?after=${this.listener.lastSeq()}&limit=${PAGE}`, { signal });
    if (signal.aborted) return false;
    this.heard();
    this.take(data.events, false);
    return data.events.length === PAGE;
  }

  openSocket() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const url = `${scheme}//${location.host}${this.path}/stream?after=${this.listener.lastSeq()}`;
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onopen = () => {
      // dropped meanwhile: browsers warn of a connection that is closed before it is open
      if (this.socket !== socket) return socket.close();
      this.heard();
      this.say({ state: "live", retryAt: null, reason: "" });
      this.pingTimer = setInterval(() => this.ping(), PING_MS);
    };
    socket.onmessage = ({ data }) => this.socket === socket && this.message(data);
    socket.onclose = ({ code, reason }) => this.socket === socket && this.closed(code, reason);
  }

  /** @param {unknown} text */
  message(text) {
    this.heard();
    this.failures = 0;
    const event = parsed(text);
    if (typeof event?.seq !== "number") return;
    // a gap: read what is missing
    if (!this.take([event], true)) this.closed(0, "an event was missing");
  }

  /**
   * @param {TaskEvent[]} events
   * @param {boolean} isLive
   * @returns {boolean} false: some are missing before these
   */
  take(events, isLive) {
    const isComplete = this.listener.onEvents(events, isLive);
    const last = events.at(-1);
    if (isComplete && last && ENDS.has(last.type)) {
      this.hasEnded = true;
      this.drop();
      this.say({ state: "ended", retryAt: null, reason: "" });
    }
    return isComplete;
  }

  ping() {
    if (Date.now() - (this.connection.heardAt ?? 0) > SILENT_MS) this.closed(0, "the server is silent");
    else if (this.socket?.readyState === WebSocket.OPEN) this.socket.send('{"type": "ping"}');
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  closed(code, reason) {
    this.drop();
    if (this.hasEnded) return;
    if (code === GONE) this.gone();
    else this.retry(reason || CLOSED[code] || "the connection was lost");
  }

  /** @param {unknown} error of reading a page */
  failed(error) {
    if (!(error instanceof ApiError)) throw error;
    // the sign-in page is shown, or there is no such task
    if (error.status === 401) this.stop();
    else if (error.status === 404) this.gone();
    else if (error.status === 409) this.gone("The server's database was restored from a backup: reload this page.");
    else this.retry(error.message, error.retryAfter * 1000);
  }

  gone(reason = "There is no such task, or it was deleted.") {
    this.hasEnded = true;
    this.say({ state: "gone", retryAt: null, reason });
  }

  /**
   * @param {string} reason
   * @param {number} [leastMs]
   */
  retry(reason, leastMs = 0) {
    const pauseMs = Math.min(MOST_PAUSE_MS, LEAST_PAUSE_MS * 2 ** this.failures);
    this.failures += 1;
    // many tabs lose their connections at once
    const waitMs = Math.max(leastMs, pauseMs * (0.8 + Math.random() * 0.2));
    this.say({ state: "reconnecting", retryAt: Date.now() + waitMs, reason });
    this.retryTimer = setTimeout(() => this.open(), waitMs);
  }

  /** Forget the connection and what was to come. */
  drop() {
    clearTimeout(this.retryTimer);
    clearInterval(this.pingTimer);
    this.reading?.abort();
    this.reading = null;
    const { socket } = this;
    this.socket = null;
    if (socket && socket.readyState !== WebSocket.CONNECTING) socket.close();
  }

  heard() {
    this.say({ heardAt: Date.now() });
  }

  /** @param {Partial<Connection>} changes */
  say(changes) {
    this.connection = { ...this.connection, ...changes };
    this.listener.onConnection(this.connection);
  }
}

/** @type {Record<number, string>} */
const CLOSED = {
  1001: "the server restarts",
  1013: "the server is busy",
  4401: "the session has ended",
};

/**
 * @param {unknown} text
 * @returns {any} null: it is no JSON
 */
function parsed(text) {
  try {
    return JSON.parse(String(text));
  } catch {
    return null;
  }
}
