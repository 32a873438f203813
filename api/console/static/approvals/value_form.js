// A form for a JSON value, made from its JSON Schema; what a form can't show is edited as JSON.
import { Notice } from "../parts/notice.js";
import { html, useId, useState } from "../vendor.js";
import { draftOf, fieldsOf, isRounded, own, placed, readJson, valueOf } from "./form_fields.js";

/** @typedef {import("./form_fields.js").Field} Field */
/** @typedef {import("./form_fields.js").Draft} Draft */

/**
 * The form. What the server found wrong is shown at its fields.
 * @param {{title: string, schema: Record<string, any> | null, value: unknown, submitName: string, isBusy: boolean,
 *   errors?: unknown, onChange?: (value: unknown) => void, onSubmit: (value: unknown) => void, onCancel: () => void}} props
 *   value: undefined if there is none yet; errors: details.errors of the server's refusal; onChange gets undefined while
 *   the texts mean no value
 */
export function ValueForm({ title, schema, value, submitName, isBusy, errors, onChange, onSubmit, onCancel }) {
  const [fields] = useState(() => fieldsOf(schema, value));
  const [draft, setDraft] = useState(/** @returns {Draft} */ () => (fields ? draftOf(fields, value) : {}));
  const [json, setJson] = useState(() => (value === undefined ? "" : JSON.stringify(value, null, 2)));
  const [isJson, setJsonMode] = useState(fields === null);
  const [faults, setFaults] = useState(/** @type {Record<string, string>} */ ({}));
  const refused = placed(errors, isJson || !fields ? [] : fields);
  /** @param {{json?: string, draft?: Draft}} next */
  const read = (next) => {
    if (isJson || !fields) {
      const found = readJson(next.json ?? json);
      return { value: found.value, faults: found.fault ? { "": found.fault } : {} };
    }
    return valueOf(fields, next.draft ?? draft);
  };
  /** @param {string} name @param {string} text */
  const change = (name, text) => {
    const next = isJson ? { json: text } : { draft: { ...draft, [name]: text } };
    if (next.json !== undefined) setJson(next.json);
    if (next.draft) setDraft(next.draft);
    onChange?.(read(next).value);
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const found = read({});
    setFaults(found.faults);
    if (!Object.keys(found.faults).length) onSubmit(found.value);
  };
  const switchMode = () => {
    const found = read({});
    setFaults(found.faults);
    if (Object.keys(found.faults).length || !fields) return;
    const shown = fieldsOf(schema, found.value);
    // another value may need other fields than this form has
    if (isJson && (!shown || shown.some((one, index) => one.name !== fields[index]?.name || one.kind !== fields[index]?.kind))) {
      setFaults({ "": "The form can't show this value: go on as JSON." });
      return;
    }
    if (isJson) setDraft(draftOf(fields, found.value));
    else setJson(JSON.stringify(found.value, null, 2));
    setJsonMode(!isJson);
  };
  const all = { ...refused, ...faults };
  return html`<form class="value-form" onSubmit=${submit} aria-label=${title}>
    ${isRounded(value) && html`<${Notice} tone="warning"><p>A number in it has more digits than a browser keeps, and is sent as it is shown. Use the command to keep it.</p><//>`}
    ${isJson
      ? html`<${JsonField} title=${title} text=${json} fault=${own(all, "")} onEdit=${(/** @type {string} */ text) => change("", text)} />`
      : fields?.map(
          (field) => html`<${FieldInput}
            key=${field.name}
            field=${field}
            title=${field.name || title}
            text=${own(draft, field.name)}
            fault=${own(all, field.name)}
            onEdit=${(/** @type {string} */ text) => change(field.name, text)}
          />`,
        )}
    ${!isJson && fields?.[0]?.name !== "" && own(all, "") && html`<p class="fault" role="alert">${own(all, "")}</p>`}
    <div class="row">
      <button type="submit" class="primary" disabled=${isBusy}>${submitName}</button>
      ${fields && html`<button type="button" onClick=${switchMode}>${isJson ? "As a form" : "As JSON"}</button>`}
      <button type="button" onClick=${onCancel}>Back</button>
    </div>
  </form>`;
}

/** @param {{title: string, text: string, fault: string, onEdit: (text: string) => void}} props */
function JsonField({ title, text, fault, onEdit }) {
  const id = useId();
  return html`<div class="value-field">
    <label for=${id}>${title} <span class="hint">as JSON</span></label>
    <textarea
      id=${id}
      class="mono"
      rows="10"
      spellcheck=${false}
      aria-invalid=${Boolean(fault)}
      aria-describedby=${`${id}-fault`}
      value=${text}
      onInput=${(/** @type {any} */ event) => onEdit(event.currentTarget.value)}
    ></textarea>
    <p class="fault" id=${`${id}-fault`} role="alert">${fault}</p>
  </div>`;
}

/** @param {{field: Field, title: string, text: string, fault: string, onEdit: (text: string) => void}} props */
function FieldInput({ field, title, text, fault, onEdit }) {
  const id = useId();
  const shared = {
    id,
    value: text,
    "aria-invalid": Boolean(fault),
    "aria-describedby": `${id}-hint ${id}-fault`,
    onInput: (/** @type {any} */ event) => onEdit(event.currentTarget.value),
  };
  return html`<div class="value-field">
    <label for=${id}>${title} ${!field.isRequired && html`<span class="hint">optional</span>`}</label>
    ${controlOf(field, shared)}
    <p class="hint" id=${`${id}-hint`}>${field.description}</p>
    <p class="fault" id=${`${id}-fault`} role="alert">${fault}</p>
  </div>`;
}

/** @param {Field} field @param {Record<string, unknown>} shared */
function controlOf(field, shared) {
  const { kind } = field;
  if (kind === "long") return html`<textarea rows="6" ...${shared}></textarea>`;
  if (kind === "json") return html`<textarea class="mono" rows="4" spellcheck=${false} ...${shared}></textarea>`;
  if (kind === "number") return html`<input inputmode="decimal" autocomplete="off" ...${shared} />`;
  if (kind === "text") return html`<input autocomplete="off" ...${shared} />`;
  const options = kind === "boolean" ? [["true", "yes"], ["false", "no"]] : field.options.map((one, index) => [String(index), String(one)]);
  return html`<select ...${shared}>
    <option value="">${field.isRequired ? "choose" : "not set"}</option>
    ${options.map(([key, name]) => html`<option value=${key}>${name}</option>`)}
  </select>`;
}
