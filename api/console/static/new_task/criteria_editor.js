// The acceptance criteria: a text each, and a machine check that is built from a form.
import { html } from "../vendor.js";
import { checkOf, hasPlace, newCheck, operandOf, OPERATIONS, sentenceOf } from "./check.js";
import { faultsAt } from "./contract.js";
import { Faults } from "./faults.js";

/** @typedef {import("./contract.js").CriterionDraft} Row */

/**
 * @param {{rows: Row[], sent: number[], faults: {path: string, message: string}[], steps: string[], limit: number,
 *   onChange: (rows: Row[]) => void}} props sent: the keys of the rows that are in the contract, in its order
 */
export function CriteriaEditor({ rows, sent, faults, steps, limit, onChange }) {
  const add = () => {
    const key = 1 + Math.max(0, ...rows.map((row) => row.key));
    onChange([...rows, { key, text: "", check: null }]);
  };
  const replace = (/** @type {number} */ key, /** @type {Partial<Row>} */ members) =>
    onChange(rows.map((row) => (row.key === key ? { ...row, ...members } : row)));
  return html`<fieldset class="criteria">
    <legend>Criteria</legend>
    <p class="hint">What the result must meet. A check is exact and costs nothing; without one a model judges the text.</p>
    ${rows.map(
      (row, index) => html`<${Criterion}
        key=${row.key}
        row=${row}
        number=${index + 1}
        messages=${sent.includes(row.key) ? faultsAt(faults, `/acceptance_criteria/${sent.indexOf(row.key)}`) : []}
        onChange=${(/** @type {Partial<Row>} */ members) => replace(row.key, members)}
        onRemove=${() => onChange(rows.filter((other) => other.key !== row.key))}
      />`,
    )}
    <datalist id="plan-steps">${steps.map((step) => html`<option value=${step} />`)}</datalist>
    <button type="button" onClick=${add} disabled=${rows.length >= limit}>Add a criterion</button>
  </fieldset>`;
}

/**
 * @param {{row: Row, number: number, messages: string[], onChange: (members: Partial<Row>) => void,
 *   onRemove: () => void}} props
 */
function Criterion({ row, number, messages, onChange, onRemove }) {
  const id = `criterion-${row.key}`;
  return html`<div class="criterion" role="group" aria-label=${`Criterion ${number}`}>
    <div class="row">
      <label for=${id} class="visually-hidden">${`Criterion ${number}`}</label>
      <input
        id=${id}
        class="wide"
        value=${row.text}
        maxlength="2000"
        placeholder="such as: every sum is named"
        aria-describedby=${messages.length ? `${id}-faults` : null}
        onInput=${(/** @type {any} */ event) => onChange({ text: event.currentTarget.value })}
      />
      ${row.check
        ? html`<button type="button" onClick=${() => onChange({ check: null })}>Without a check</button>`
        : html`<button type="button" onClick=${() => onChange({ check: newCheck() })}>Add a check</button>`}
      <button type="button" onClick=${onRemove} aria-label=${`Remove criterion ${number}`}>Remove</button>
    </div>
    ${row.check
      ? html`<${CheckForm} id=${id} check=${row.check} onChange=${(/** @type {any} */ check) => onChange({ check })} />`
      : null}
    <${Faults} id=${`${id}-faults`} messages=${messages} />
  </div>`;
}

/** @param {{id: string, check: import("./check.js").CheckDraft, onChange: (check: any) => void}} props */
function CheckForm({ id, check, onChange }) {
  const set = (/** @type {string} */ name) => (/** @type {any} */ event) =>
    onChange({ ...check, [name]: event.currentTarget.value });
  return html`<div class="check">
    <div class="row">
      ${hasPlace(check.operation)
        ? html`<${Text} id=${`${id}-step`} label="Step" value=${check.step} onInput=${set("step")} list="plan-steps" placeholder="the result" />
            <${Text} id=${`${id}-pointer`} label="Place (JSON pointer)" value=${check.pointer} onInput=${set("pointer")} placeholder="/total" />`
        : null}
      <div>
        <label for=${`${id}-operation`}>Check</label>
        <select id=${`${id}-operation`} value=${check.operation} onChange=${set("operation")}>
          ${OPERATIONS.map(({ name, words }) => html`<option value=${name}>${words}</option>`)}
        </select>
      </div>
      <${Operand} id=${id} check=${check} set=${set} />
    </div>
    <p class="hint sentence">${sentenceOf(checkOf(check))}</p>
  </div>`;
}

/** @param {{id: string, check: import("./check.js").CheckDraft, set: (name: string) => (event: any) => void}} props */
function Operand({ id, check, set }) {
  const name = `${id}-operand`;
  const common = { id: name, value: check.operand, onInput: set("operand") };
  switch (operandOf(check.operation)) {
    case "none":
      return null;
    case "flag":
      return html`<div>
        <label for=${name}>Exists</label>
        <select id=${name} value=${check.operand || "true"} onChange=${set("operand")}>
          <option value="true">yes</option>
          <option value="false">no</option>
        </select>
      </div>`;
    case "schema":
      return html`<div>
        <label for=${name}>JSON Schema</label>
        <textarea ...${common} rows="3" cols="40" class="mono" spellcheck=${false}></textarea>
      </div>`;
    case "place":
      return html`<${Text} ...${common} label="Other step" list="plan-steps" placeholder="the result" />
        <${Text} id=${`${id}-other`} label="Its place" value=${check.otherPointer ?? ""} onInput=${set("otherPointer")} placeholder="/total" />`;
    case "number":
      return html`<${Text} ...${common} label="Number" inputmode="decimal" />`;
    case "text":
      return html`<${Text} ...${common} label="Pattern (RE2)" />`;
    default:
      return html`<${Text} ...${common} label="Value (JSON or a text)" />`;
  }
}

/** @param {{id: string, label: string, value: string, onInput: (event: any) => void, [attribute: string]: any}} props */
function Text({ id, label, ...attributes }) {
  return html`<div>
    <label for=${id}>${label}</label>
    <input id=${id} size="16" ...${attributes} />
  </div>`;
}
