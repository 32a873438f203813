// Keeps the draft of a task in the tab's storage, so that a reload or the end of the session loses nothing.
import { session } from "../session.js";
import { useEffect, useRef, useState } from "../vendor.js";
import { emptyDraft } from "./contract.js";

/** @typedef {import("./contract.js").Draft} Draft */
/** Members to change, or a function that returns them. @typedef {Partial<Draft> | ((before: Draft) => Partial<Draft>)} Change */

const SAVED_AFTER_MS = 300;

/** Return the name of the tenant's draft: another tenant that signs in in the same tab does not see it. */
function storageName() {
  return `octollm.new-task.${session.value?.tenant ?? ""}`;
}

/** @param {string} name @returns {Draft} */
function stored(name) {
  try {
    const found = JSON.parse(sessionStorage.getItem(name) ?? "null");
    return { ...emptyDraft(), ...(found && typeof found === "object" ? found : {}) };
  } catch {
    return emptyDraft();
  }
}

/**
 * Return the draft, a function that changes members of it, and one that begins a new one.
 * @returns {[Draft, (change: Change) => void, () => void]}
 */
export function useDraft() {
  const name = useRef(storageName()).current;
  const [draft, setDraft] = useState(() => stored(name));
  const current = useRef(draft);
  current.current = draft;
  const isDropped = useRef(false);
  const save = () => {
    if (isDropped.current) return;
    try {
      sessionStorage.setItem(name, JSON.stringify(current.current));
    } catch {
      // the storage is full or switched off: the draft lives as long as the page
    }
  };
  useEffect(() => {
    const timer = setTimeout(save, SAVED_AFTER_MS);
    return () => clearTimeout(timer);
  }, [draft]);
  useEffect(() => {
    addEventListener("pagehide", save);
    return () => {
      removeEventListener("pagehide", save);
      save();
    };
  }, []);
  const change = (/** @type {Change} */ members) =>
    setDraft((before) => ({ ...before, ...(typeof members === "function" ? members(before) : members) }));
  const drop = () => {
    isDropped.current = true;
    sessionStorage.removeItem(name);
  };
  return [draft, change, drop];
}
