// What a retry changes: the form, the body of the request, and the command that does the same.
import { octollmOf } from "../parts/command_lines.js";
import { html, useState } from "../vendor.js";

/** @typedef {"plain" | "changes" | "replay"} How */
/** @typedef {{step: string, inputs: string, prompt: string, model: string, criteria: string}} Changes */

/** @type {Changes} */
export const NOTHING = { step: "", inputs: "", prompt: "", model: "", criteria: "" };

/**
 * @param {How} how
 * @param {string | null} from
 * @param {Changes} changes
 * @returns {{body: Record<string, any>, wrong: Error | null}} wrong: the form can't be sent as it is
 */
export function bodyOf(how, from, changes) {
  if (how === "replay") return { body: { replay: true }, wrong: null };
  const body = from ? { from_step: from } : {};
  if (how === "plain") return { body, wrong: null };
  const { step, inputs, prompt, model, criteria } = changes;
  /** @type {Record<string, any>} */
  const set = {};
  // the planner has no inputs: the field is hidden, and may have those of the step that was chosen before
  if (step !== "$plan" && inputs.trim()) {
    const values = objectOf(inputs);
    if (values === null) return { body, wrong: new Error('The inputs must be a JSON object, such as {"seconds": 2}.') };
    set.inputs = { [step]: values };
  }
  if (prompt.trim()) set.prompt = { [step]: prompt.trim() };
  if ((set.inputs || set.prompt) && !step) return { body, wrong: new Error("Choose the step that is changed.") };
  if (model.trim()) set.model = model.trim();
  const lines = criteria.split("\n").map((line) => line.trim()).filter(Boolean);
  if (lines.length > 0) set.criteria = lines;
  return { body: Object.keys(set).length > 0 ? { ...body, set } : body, wrong: null };
}

/**
 * @param {How} how
 * @param {string} taskId
 * @param {string | null} from
 * @param {Record<string, any>} body
 */
export function cliOf(how, taskId, from, body) {
  if (how === "replay") return octollmOf("replay", taskId);
  const begin = from ? ["--from", from] : [];
  const { inputs = {}, model, prompt = {}, criteria = [] } = body.set ?? {};
  const options = [
    ...Object.entries(inputs).flatMap(([step, values]) =>
      Object.entries(values).flatMap(([name, value]) => ["--input", `${step}.${name}=${JSON.stringify(value)}`]),
    ),
    ...(model ? ["--model", model] : []),
    ...Object.entries(prompt).flatMap(([step, text]) => (step === "$plan" ? ["--plan-prompt", text] : ["--prompt", `${step}=${text}`])),
    ...criteria.flatMap((/** @type {string} */ text) => ["--criterion", text]),
  ];
  return options.length > 0 ? octollmOf("fork", taskId, ...options, ...begin) : octollmOf("retry", taskId, ...begin);
}

/** @param {{names: string[], onChange: (changes: Changes) => void}} props onChange: when a field was left */
export function ChangesForm({ names, onChange }) {
  const [changes, setChanges] = useState(NOTHING);
  const put = (/** @type {Partial<Changes>} */ some) => {
    const now = { ...changes, ...some };
    setChanges(now);
    onChange(now);
  };
  /** @param {keyof Changes} name */
  const field = (name) => ({
    id: `retry-${name}`,
    value: changes[name],
    onChange: (/** @type {any} */ event) => put({ [name]: event.currentTarget.value }),
  });
  return html`<fieldset>
    <legend>Changes</legend>
    <p><label for="retry-step">Step</label>
      <select ...${field("step")}>
        <option value="">none</option>
        ${names.map((name) => html`<option value=${name}>${name}</option>`)}
        <option value="$plan">the planner</option>
      </select></p>
    ${changes.step === "$plan" ? null : html`<p><label for="retry-inputs">Its inputs that change, as JSON</label> <textarea ...${field("inputs")} rows="2" class="mono" spellcheck="false"></textarea></p>`}
    <p><label for="retry-prompt">What it is told in addition</label> <textarea ...${field("prompt")} rows="2"></textarea></p>
    <p><label for="retry-model">Model (provider:model) of all steps that ask one</label> <input ...${field("model")} class="mono" autocomplete="off" /></p>
    <p><label for="retry-criteria">Acceptance criteria instead, one a line</label> <textarea ...${field("criteria")} rows="2"></textarea></p>
  </fieldset>`;
}

/** @param {string} text */
function objectOf(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
