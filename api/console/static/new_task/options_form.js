// Budget, cache, priority and effects: what a task may use, with the server's own values where nothing is said.
import { may } from "../session.js";
import { html } from "../vendor.js";
import { BUDGET, faultsAt } from "./contract.js";
import { Faults } from "./faults.js";

const CACHE = [
  ["default", "an earlier result may answer"],
  ["refresh", "run, and keep the result"],
  ["bypass", "run, and keep nothing"],
  ["no_store", "may be answered, keep nothing"],
  ["only_cached", "only answer, never run"],
];
const EFFECTS = [
  ["none", "nothing outside"],
  ["read", "may read outside"],
  ["write", "may write outside"],
];

/**
 * @param {{draft: import("./contract.js").Draft, onChange: (change: any) => void,
 *   faults: {path: string, message: string}[], standard: Record<string, number> | null}} props
 *   standard: the budget of a task that sets none
 */
export function OptionsForm({ draft, onChange, faults, standard }) {
  const priorities = ["low", "medium", "high", ...(may("task:critical") ? ["critical"] : [])];
  return html`<fieldset class="options">
    <legend>Budget and options</legend>
    <div class="row">
      ${BUDGET.map(
        ({ name, label, step }) => html`<div>
          <label for=${name}>${label}</label>
          <input
            id=${name}
            type="number"
            min="0"
            step=${step}
            value=${draft.budget[name] ?? ""}
            placeholder=${standard?.[name] ?? ""}
            onInput=${(/** @type {any} */ event) => onChange({ budget: { ...draft.budget, [name]: event.currentTarget.value } })}
          />
          <${Faults} messages=${faultsAt(faults, `/budget/${name}`)} />
        </div>`,
      )}
    </div>
    <div class="row">
      <${Choice} id="cache" label="Cache" value=${draft.cache} choices=${CACHE} standard="default" onChange=${onChange} />
      <${Choice} id="priority" label="Priority" value=${draft.priority} choices=${priorities.map((name) => [name, ""])} standard="medium" onChange=${onChange} />
      <${Choice} id="effects" label="Effects" value=${draft.effects} choices=${EFFECTS} standard="write" onChange=${onChange} />
    </div>
    <${Faults} messages=${["/cache", "/priority", "/effects"].flatMap((place) => faultsAt(faults, place))} />
  </fieldset>`;
}

/**
 * @param {{id: string, label: string, value: string, choices: string[][], standard: string,
 *   onChange: (change: any) => void}} props
 */
function Choice({ id, label, value, choices, standard, onChange }) {
  return html`<div>
    <label for=${id}>${label}</label>
    <select id=${id} value=${value || standard}
      onChange=${(/** @type {any} */ event) => onChange({ [id]: event.currentTarget.value === standard ? "" : event.currentTarget.value })}>
      ${choices.map(([name, words]) => html`<option value=${name}>${words ? `${name}: ${words}` : name}</option>`)}
    </select>
  </div>`;
}
