/**
 * Reads the evidence of a verdict: which step, place and words an entry names; and the path in the address.
 *
 * Pure. An entry may have any members, for arms write them too.
 */

/**
 * @typedef {{step: string|null, pointer: string|null, quote: string|null, model: string|null, label: string}} Place
 *   step: null if the entry names none; pointer: into its output
 * @typedef {{criterion: number|null, evidence: number|null, attempt: number|null, call: number|null}} WhyAt
 *   criterion, evidence: an index from 0; call: the id of the decision in the trace
 */

/**
 * Return what an entry of a finding's evidence names.
 * @param {any} entry
 * @param {{step: string|null}} finding
 * @param {ReadonlySet<string>} steps the names of the plan's steps
 * @returns {Place}
 */
export function placeOf(entry, finding, steps) {
  const known = { step: finding.step ?? null, pointer: null, quote: null, model: null };
  if (entry === null || typeof entry !== "object") return { ...known, label: String(entry) };
  if (typeof entry.model === "string") return { ...known, step: null, model: entry.model, label: `judged by ${entry.model}` };
  if (typeof entry.quote === "string") {
    const step = typeof entry.step === "string" ? entry.step : known.step;
    return { ...known, step, quote: entry.quote, label: `“${entry.quote}”` };
  }
  if (typeof entry.place === "string") return { ...known, ...ofRule(entry.place, steps), label: labelOf(entry) };
  if (typeof entry.step === "string") return { ...known, step: entry.step, label: `${entry.step} is ${entry.state ?? "there"}` };
  if (Array.isArray(entry.items)) return { ...known, label: `items ${entry.items.slice(0, 10).join(", ")}${entry.items.length > 10 ? ", …" : ""}` };
  const told = entry.fault ?? entry.file;
  return { ...known, label: told === undefined ? cut(JSON.stringify(entry)) : cut(`${told}${entry.line ? `:${entry.line}` : ""}`) };
}

/** @param {any} entry */
function labelOf(entry) {
  return `${entry.place} is ${cut(typeof entry.value === "string" ? entry.value : JSON.stringify(entry.value ?? null))}`;
}

/** @param {string} text */
function cut(text) {
  return text.length > 200 ? `${text.slice(0, 199)}…` : text;
}

/**
 * Return the step and the pointer of a rule's place, "step:/pointer" or "result:/step/pointer".
 * @param {string} place
 * @param {ReadonlySet<string>} steps
 */
function ofRule(place, steps) {
  const at = place.indexOf(":");
  const [name, pointer] = [place.slice(0, at), place.slice(at + 1)];
  if (name !== "result") return { step: name, pointer: pointer === "/" ? "" : pointer };
  // without a named answer the result has the outputs of the last steps, by step
  const [, first = "", ...rest] = pointer.split("/");
  if (steps.has(first)) return { step: first, pointer: rest.length > 0 ? `/${rest.join("/")}` : "" };
  return { step: null, pointer };
}

/**
 * Return the place in the path that a text such as "c2.e0.a1.m17" names; parts that are missing are null.
 * @param {string|null} text
 * @returns {WhyAt}
 */
export function readWhy(text) {
  const part = (/** @type {string} */ letter) => {
    const found = new RegExp(`(?:^|\\.)${letter}(\\d{1,15})(?:\\.|$)`).exec(text ?? "");
    return found ? Number(found[1]) : null;
  };
  return { criterion: part("c"), evidence: part("e"), attempt: part("a"), call: part("m") };
}

/**
 * Return the text of a place in the path.
 * @param {Partial<WhyAt>} at
 */
export function writeWhy({ criterion = null, evidence = null, attempt = null, call = null }) {
  const parts = [["c", criterion], ["e", evidence], ["a", attempt], ["m", call]];
  return parts.filter(([, value]) => value !== null).map(([letter, value]) => `${letter}${value}`).join(".") || null;
}
