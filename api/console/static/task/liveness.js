/** Says how old the page's knowledge is: when the last event came, and when the server was heard. */

import { age, duration } from "../format.js";
import { html, useEffect, useState } from "../vendor.js";

const TICK_MS = 1000;

/** @param {{live: import("./live_task.js").LiveTask}} props */
export function Liveness({ live }) {
  const connection = live.connection.value;
  const size = live.size.value;
  const [now, setNow] = useState(() => Date.now());
  const hasEnded = connection.state === "ended";
  useEffect(() => {
    if (hasEnded) return undefined;
    const timer = setInterval(() => setNow(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [hasEnded]);
  const at = Math.max(now, connection.heardAt ?? 0);
  return html`<span class="liveness" data-state=${connection.state}>${connectionText(connection, at)}${eventAge(live, size, at)}</span>`;
}

/**
 * @param {import("../live_events.js").Connection} connection
 * @param {number} now
 * @returns {string}
 */
export function connectionText(connection, now) {
  const { state, heardAt, retryAt, reason } = connection;
  const heard = heardAt === null ? "nothing was heard yet" : `last heard ${age(heardAt, now)}`;
  switch (state) {
    case "loading":
      return "loading";
    case "live":
      return `connected, ${heard}`;
    case "hidden":
      return `paused while the tab is hidden, ${heard}`;
    case "reconnecting":
      return `reconnecting${retryAt && retryAt > now ? ` in ${duration(Math.ceil((retryAt - now) / 1000) * 1000)}` : ""}, ${heard} (${reason})`;
    case "ended":
      return "ended";
    default:
      return reason;
  }
}

/**
 * @param {import("./live_task.js").LiveTask} live
 * @param {number} size
 * @param {number} now
 */
function eventAge(live, size, now) {
  return size === 0 || live.eventAt === null ? "" : `; last event ${age(live.eventAt, now)}`;
}
