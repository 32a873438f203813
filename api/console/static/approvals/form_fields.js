// Pure: turns a JSON Schema and a value into the fields of a form, and their texts back into a value.
//
// A schema comes from a plan or a registered arm, so it is not trusted: patterns are left to the server, and whatever a
// form can't show is edited as JSON.

/**
 * A field of a form; `name` is "" if the whole value is one field. `options` are the values of an enum.
 * @typedef {{name: string, kind: "text" | "long" | "number" | "boolean" | "enum" | "json", isRequired: boolean,
 *   description: string, schema: Record<string, any>, options: unknown[]}} Field
 * @typedef {Record<string, string>} Draft the text of each field by its name; "" is not set
 */

const MAX_FIELDS = 40;
const MAX_OPTIONS = 100;
const LONG_TEXT = 120;

/**
 * The input schema of an arm's action in the answer of GET /v1/arms; null if it is not there.
 * @param {{arm_id: string, input_schema: any}[]} arms
 * @param {string} armId
 * @param {string} action
 * @returns {Record<string, any> | null}
 */
export function actionSchema(arms, armId, action) {
  const arm = arms.find((one) => one.arm_id === armId);
  const found = arm?.input_schema?.oneOf?.find((/** @type {any} */ one) => one.title === action);
  return isObject(found) ? found : null;
}

/**
 * The fields for a value by its schema; null if only JSON can show it.
 * @param {Record<string, any> | null} schema
 * @param {unknown} value the present one; undefined if there is none yet
 * @returns {Field[] | null}
 */
export function fieldsOf(schema, value) {
  if (!isObject(schema)) return null;
  const isOfMembers = schema.type === "object" || isObject(schema.properties);
  if (!isOfMembers) {
    const field = fieldOf("", schema, value, true);
    return field.kind === "json" ? null : [field];
  }
  if (value !== undefined && !isObject(value)) return null;
  const properties = isObject(schema.properties) ? schema.properties : {};
  const required = Array.isArray(schema.required) ? schema.required : [];
  const present = isObject(value) ? value : {};
  const names = [...new Set([...Object.keys(properties), ...Object.keys(present)])];
  // "" is the name of a field that is the whole value
  if (!names.length || names.length > MAX_FIELDS || names.includes("")) return null;
  return names.map((name) => {
    const own = Object.hasOwn(properties, name) && isObject(properties[name]) ? properties[name] : {};
    const at = Object.hasOwn(present, name) ? present[name] : undefined;
    return fieldOf(name, own, at, required.includes(name));
  });
}

/**
 * @param {string} name
 * @param {Record<string, any>} schema
 * @param {unknown} value
 * @param {boolean} isRequired
 * @returns {Field}
 */
function fieldOf(name, schema, value, isRequired) {
  const description = typeof schema.description === "string" ? schema.description : "";
  const isEnum = Array.isArray(schema.enum) && schema.enum.length > 0 && schema.enum.length <= MAX_OPTIONS;
  const options = isEnum ? schema.enum : [];
  // an empty text that need not be there would be left out
  const isKept = value === "" && !isRequired;
  return { name, kind: isKept ? "json" : kindOf(schema, value, isEnum), isRequired, description, schema, options };
}

/**
 * @param {Record<string, any>} schema
 * @param {unknown} value
 * @param {boolean} isEnum
 * @returns {Field["kind"]}
 */
function kindOf(schema, value, isEnum) {
  if (isEnum) return value === undefined || placeIn(schema.enum, value) >= 0 ? "enum" : "json";
  const fits = (/** @type {string} */ type) => value === undefined || typeof value === type;
  if (schema.type === "boolean" && fits("boolean")) return "boolean";
  if ((schema.type === "number" || schema.type === "integer") && fits("number")) return "number";
  if (schema.type === "string" && fits("string")) {
    const isLong = schema.maxLength > LONG_TEXT || (typeof value === "string" && (value.length > LONG_TEXT || value.includes("\n")));
    return isLong ? "long" : "text";
  }
  return "json";
}

/**
 * The texts of the fields for a value.
 * @param {Field[]} fields
 * @param {unknown} value
 * @returns {Draft}
 */
export function draftOf(fields, value) {
  return Object.fromEntries(
    fields.map((field) => {
      const at = field.name === "" ? value : isObject(value) && Object.hasOwn(value, field.name) ? value[field.name] : undefined;
      return [field.name, textOf(field, at)];
    }),
  );
}

/** @param {Field} field @param {unknown} value */
function textOf(field, value) {
  if (value === undefined) return "";
  if (field.kind === "enum") return String(placeIn(field.options, value));
  if (field.kind === "text" || field.kind === "long" || field.kind === "number" || field.kind === "boolean") return String(value);
  return JSON.stringify(value, null, 2);
}

/**
 * The value that the texts mean, and what is wrong with them by the name of the field. An empty text that need not be
 * there leaves its member out; with faults, value is undefined.
 * @param {Field[]} fields
 * @param {Draft} draft
 * @returns {{value: unknown, faults: Record<string, string>}}
 */
export function valueOf(fields, draft) {
  /** @type {Record<string, string>} */
  const faults = {};
  /** @type {[string, unknown][]} */
  const members = [];
  for (const field of fields) {
    const text = own(draft, field.name);
    if (text === "" && (!field.isRequired || !isText(field))) {
      if (field.isRequired) faults[field.name] = "This is needed.";
      continue;
    }
    const read = readField(field, text);
    if (read.fault) faults[field.name] = read.fault;
    else members.push([field.name, read.value]);
  }
  if (Object.keys(faults).length) return { value: undefined, faults };
  return { value: fields[0]?.name === "" ? members[0]?.[1] : Object.fromEntries(members), faults };
}

/** @param {Field} field */
function isText(field) {
  return field.kind === "text" || field.kind === "long";
}

/**
 * @param {Field} field
 * @param {string} text
 * @returns {{value?: unknown, fault?: string}}
 */
function readField(field, text) {
  const { schema } = field;
  if (field.kind === "enum") return { value: field.options[Number(text)] };
  if (field.kind === "boolean") return { value: text === "true" };
  if (field.kind === "json") return readJson(text);
  if (field.kind === "number") {
    const number = Number(text.trim());
    if (text.trim() === "" || !Number.isFinite(number)) return { fault: "Must be a number." };
    if (schema.type === "integer" && !Number.isInteger(number)) return { fault: "Must be a whole number." };
    if (number < schema.minimum) return { fault: `Must be at least ${schema.minimum}.` };
    if (number > schema.maximum) return { fault: `Must be at most ${schema.maximum}.` };
    return { value: number };
  }
  const length = [...text].length;
  if (length < schema.minLength) return { fault: `Must have at least ${schema.minLength} characters.` };
  if (length > schema.maxLength) return { fault: `Must have at most ${schema.maxLength} characters.` };
  return { value: text };
}

/**
 * The value of a JSON text, or what is wrong with it.
 * @param {string} text
 * @returns {{value?: unknown, fault?: string}}
 */
export function readJson(text) {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    return { fault: `This is not JSON: ${error instanceof Error ? error.message : "it can't be read"}` };
  }
}

/**
 * The server's faults by the name of the field, those that belong to none under "".
 * @param {unknown} errors details.errors of a problem: [{field, message}]
 * @param {Field[]} fields
 * @returns {Record<string, string>}
 */
export function placed(errors, fields) {
  /** @type {Record<string, string>} */
  const faults = {};
  for (const error of Array.isArray(errors) ? errors : []) {
    const path = String(error?.field ?? "").split(".");
    const field = fields.find((one) => one.name !== "" && path.includes(one.name));
    const name = field?.name ?? "";
    const text = field ? String(error?.message) : `${path.join(".")}: ${error?.message}`;
    faults[name] = `${own(faults, name)} ${text}`.trim();
  }
  return faults;
}

/**
 * Whether a value has a whole number of more digits than a browser keeps: it was rounded when it was read.
 * @param {unknown} value a JSON value
 * @returns {boolean}
 */
export function isRounded(value) {
  const rest = [value];
  while (rest.length) {
    const one = rest.pop();
    if (typeof one === "number" && Number.isInteger(one) && !Number.isSafeInteger(one)) return true;
    if (typeof one === "object" && one !== null) for (const inner of Object.values(one)) rest.push(inner);
  }
  return false;
}

/**
 * The text of a field; "" if there is none. A member may be called like a property of every object.
 * @param {Record<string, string>} texts
 * @param {string} name
 * @returns {string}
 */
export function own(texts, name) {
  return Object.hasOwn(texts, name) ? /** @type {string} */ (texts[name]) : "";
}

/** @param {unknown[]} options @param {unknown} value */
function placeIn(options, value) {
  const text = JSON.stringify(value);
  return options.findIndex((one) => JSON.stringify(one) === text);
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
