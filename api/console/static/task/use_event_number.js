/** Which event of a task is shown: the last one, or that of the address (`?at=17`). */

import { address, setQuery } from "../address.js";
import { useEffect, useRef, useState } from "../vendor.js";

// browsers refuse more than about 200 changes of the address in 10 s
const ADDRESS_MS = 150;

/**
 * @param {number} size the number of the last event that came
 * @returns {[n: number, isLive: boolean, show: (n: number|null) => void]} show(null): the last one, now and later
 */
export function useEventNumber(size) {
  const wanted = numberOf(address.value.query.get("at"));
  const [at, setAt] = useState(wanted);
  const written = useRef(wanted);
  const timer = useRef(/** @type {ReturnType<typeof setTimeout>|undefined} */ (undefined));
  useEffect(() => {
    // somebody else changed the address
    if (wanted !== written.current) setAt(wanted);
    written.current = wanted;
  }, [wanted]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const show = (/** @type {number|null} */ n) => {
    setAt(n);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      written.current = n;
      setQuery({ at: n });
    }, ADDRESS_MS);
  };
  const n = at === null ? size : Math.min(at, size);
  return [n, at === null, show];
}

/**
 * @param {string|null} text
 * @returns {number|null}
 */
function numberOf(text) {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null;
}
