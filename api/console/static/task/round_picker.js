/** Chooses which round of a task is shown. */

import { html } from "../vendor.js";

const KINDS = { planned: "plan", repair: "repair", early: "before the plan" };

/**
 * Shown if there is more than one round with steps; by default the current round is shown, also when it changes.
 * @param {{state: import("./reduce.js").State, round: number, onSelect: (round: number|null) => void}} props
 */
export function RoundPicker({ state, round, onSelect }) {
  const rounds = Object.values(state.rounds).filter((one) => Object.keys(one.steps).length > 0);
  if (rounds.length < 2) return null;
  const onChange = (/** @type {any} */ event) => {
    const wanted = Number(event.currentTarget.value);
    onSelect(wanted === state.round ? null : wanted);
  };
  return html`<label class="round-picker">Round <select value=${String(round)} onChange=${onChange}>
    ${rounds.map((one) => html`<option key=${one.number} value=${String(one.number)}>${one.number}: ${KINDS[one.kind]}${one.number === state.round ? ", current" : ""}</option>`)}
  </select></label>`;
}
