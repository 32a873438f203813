// A machine check as a form holds it, the rule that it stands for, and the sentence that says it.

/**
 * The texts of a form; `step` and `pointer` name the place, `operand` belongs to the operation.
 * @typedef {{operation: string, step: string, pointer: string, operand: string, otherPointer?: string}} CheckDraft
 */

/**
 * The operations of a check, with their words and what their operand is.
 * @type {{name: string, words: string, operand: "value" | "number" | "text" | "flag" | "schema" | "place" | "none"}[]}
 */
export const OPERATIONS = [
  { name: "equals", words: "equals", operand: "value" },
  { name: "not_equals", words: "does not equal", operand: "value" },
  { name: "at_least", words: "is at least", operand: "number" },
  { name: "at_most", words: "is at most", operand: "number" },
  { name: "contains", words: "contains", operand: "value" },
  { name: "matches", words: "matches the pattern", operand: "text" },
  { name: "exists", words: "exists", operand: "flag" },
  { name: "schema", words: "matches a JSON Schema", operand: "schema" },
  { name: "same_as", words: "is the same as another place", operand: "place" },
  { name: "output_schema", words: "the whole result matches a JSON Schema", operand: "schema" },
  { name: "all_steps_done", words: "all steps are done", operand: "none" },
];

const WHOLE = new Set(["all_steps_done", "output_schema"]);

/** @returns {CheckDraft} */
export function newCheck() {
  return { operation: "equals", step: "", pointer: "", operand: "" };
}

/** Tell whether an operation is about one place. @param {string} operation */
export function hasPlace(operation) {
  return !WHOLE.has(operation);
}

/** What an operation's operand is. @param {string} operation */
export function operandOf(operation) {
  return OPERATIONS.find(({ name }) => name === operation)?.operand ?? "value";
}

/**
 * Return the rule that a form stands for. What can't be read stays a text, so that the API says what is wrong with it.
 * @param {CheckDraft} draft
 * @returns {Record<string, any>}
 */
export function checkOf(draft) {
  const { operation } = draft;
  if (operation === "all_steps_done") return { all_steps_done: true };
  if (operation === "output_schema") return { output_schema: jsonOr(draft.operand) };
  return { ...placeOf(draft.step, draft.pointer), [operation]: operandValue(draft) };
}

/** @param {CheckDraft} draft */
function operandValue({ operation, operand, otherPointer = "" }) {
  switch (operandOf(operation)) {
    case "number":
      return operand.trim() && Number.isFinite(Number(operand)) ? Number(operand) : operand;
    case "text":
      return operand;
    case "flag":
      return operand !== "false";
    case "place":
      return placeOf(operand, otherPointer);
    default:
      return jsonOr(operand);
  }
}

/** @param {string} step @param {string} pointer */
function placeOf(step, pointer) {
  /** @type {Record<string, string>} */
  const place = {};
  if (step.trim()) place.step = step.trim();
  if (pointer.trim()) place.pointer = pointer.trim();
  return place;
}

/** Return the JSON value of a text, or the text if it is no JSON. @param {string} text @returns {any} */
function jsonOr(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/**
 * Say a rule in a sentence.
 * @param {Record<string, any>} rule
 * @returns {string}
 */
export function sentenceOf(rule) {
  if ("all_steps_done" in rule) return "All steps are done or were skipped.";
  if ("output_schema" in rule) return `The result matches the schema ${shown(rule.output_schema)}.`;
  const said = OPERATIONS.filter(({ name }) => name in rule).map(({ name, words }) => saidOf(name, words, rule[name]));
  return `${placeName(rule, true)} ${said.join(" and ") || "..."}.`;
}

/** @param {string} name @param {string} words @param {any} operand */
function saidOf(name, words, operand) {
  if (name === "exists") return operand ? "exists" : "does not exist";
  if (name === "schema") return `matches the schema ${shown(operand)}`;
  if (name === "same_as") return `is the same as ${placeName(operand, false)}`;
  return `${words} ${shown(operand)}`;
}

/** @param {any} place @param {boolean} begins a sentence */
function placeName(place, begins) {
  const whole = place.step ? `the output of step ${place.step}` : "the result";
  const name = place.pointer ? `the value at ${place.pointer} in ${whole}` : whole;
  return begins ? `T${name.slice(1)}` : name;
}

/** @param {any} value */
function shown(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}
