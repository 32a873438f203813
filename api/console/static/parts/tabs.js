// Tabs: the arrow keys move between them, and one is always chosen.
import { html, useRef } from "../vendor.js";

/**
 * @param {{label: string, tabs: readonly {id: string, label: string}[], selected: string,
 *   onSelect: (id: string) => void}} props the panel has the id `panel-ID` and is labelled by `tab-ID`
 */
export function Tabs({ label, tabs, selected, onSelect }) {
  const row = /** @type {import("../vendor.js").RefObject<HTMLDivElement | null>} */ (useRef(null));
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const place = tabs.findIndex((tab) => tab.id === selected);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = next % tabs.length;
    onSelect(/** @type {{id: string}} */ (tabs[index]).id);
    /** @type {HTMLElement|undefined} */ (row.current?.children[index])?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} ref=${row} onKeyDown=${onKeyDown}>
    ${tabs.map(
      ({ id, label: name }) => html`<button
        type="button"
        role="tab"
        id=${`tab-${id}`}
        aria-selected=${id === selected ? "true" : "false"}
        aria-controls=${id === selected ? `panel-${id}` : null}
        tabindex=${id === selected ? 0 : -1}
        onClick=${() => onSelect(id)}
      >${name}</button>`,
    )}
  </div>`;
}
