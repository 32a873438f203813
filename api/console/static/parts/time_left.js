// Times that move with the clock.
import { age, clock } from "../format.js";
import { html, useEffect, useState } from "../vendor.js";

/**
 * The time now, in milliseconds since 1970; it moves on every `everyMs` while the tab is visible.
 * @param {number} [everyMs]
 * @returns {number}
 */
export function useNow(everyMs = 1000) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const tick = () => {
      if (!document.hidden) setNow(Date.now());
    };
    const timer = setInterval(tick, everyMs);
    document.addEventListener("visibilitychange", tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", tick);
    };
  }, [everyMs]);
  return now;
}

/**
 * How long it is until a time, or how long ago it was; the exact time is in its title.
 * @param {{until: string, now: number}} props until: ISO 8601; now: of useNow
 */
export function TimeLeft({ until, now }) {
  return html`<time dateTime=${until} title=${clock(until)}>${age(until, now)}</time>`;
}
