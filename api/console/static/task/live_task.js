/** One task as a page shows it: its events, the connection by which they come, and the facts beside them. */

import { LiveEvents } from "../live_events.js";
import { signal } from "../vendor.js";
import { EventLog } from "./event_log.js";
import { FactsReader } from "./facts.js";

/** Keeps the events of a task; its signals change at most once a frame. */
export class LiveTask {
  /** @param {string} taskId */
  constructor(taskId) {
    this.log = new EventLog();
    /** the number of the last event that is shown @type {import("../vendor.js").Signal<number>} */
    this.size = signal(0);
    /** @type {import("../vendor.js").Signal<import("../live_events.js").Connection>} */
    this.connection = signal({ state: "loading", heardAt: null, retryAt: null, reason: "" });
    /** when the last event came, by this computer's clock; of one that came before the page, its own time */
    this.eventAt = /** @type {number|null} */ (null);
    this.reader = new FactsReader(taskId);
    this.facts = this.reader.facts;
    this.frame = 0;
    this.events = new LiveEvents(taskId, {
      lastSeq: () => this.log.size,
      onEvents: (events, isLive) => this.add(events, isLive),
      onConnection: (connection) => {
        this.connection.value = connection;
      },
    });
  }

  /** @returns {() => void} ends it */
  start() {
    this.events.start();
    this.reader.refresh();
    return () => {
      cancelAnimationFrame(this.frame);
      this.events.stop();
      this.reader.stop();
    };
  }

  /**
   * @param {import("./reduce.js").TaskEvent[]} events
   * @param {boolean} isLive
   * @returns {boolean}
   */
  add(events, isLive) {
    const before = this.log.size;
    const isComplete = this.log.add(events);
    const last = this.log.events.at(-1);
    if (this.log.size > before && last) {
      this.eventAt = isLive ? Date.now() : Math.min(Date.now(), Date.parse(last.timestamp) || Date.now());
      this.reader.onEvents(this.log.events.slice(before));
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(() => {
        this.size.value = this.log.size;
      });
    }
    return isComplete;
  }
}
