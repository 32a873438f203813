/** The time, for what changes while it passes. */

import { useEffect, useState } from "../vendor.js";

const TICK_MS = 1000;

/**
 * Return the time, each second another one, as long as something ticks; else the time of the last event.
 * @param {boolean} isTicking
 * @param {number} lastEventAt milliseconds since 1970
 * @returns {number}
 */
export function useNow(isTicking, lastEventAt) {
  const [tick, setTick] = useState(() => Date.now());
  useEffect(() => {
    if (!isTicking) return undefined;
    setTick(Date.now());
    const timer = setInterval(() => setTick(Date.now()), TICK_MS);
    return () => clearInterval(timer);
  }, [isTicking]);
  return isTicking ? Math.max(tick, lastEventAt) : lastEventAt;
}
