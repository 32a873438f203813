// A draft of a task, and the contract that it stands for.
import { octollmOf } from "../parts/shell_line.js";
import { checkOf } from "./check.js";
import { readPlaces } from "./json_positions.js";

/**
 * @typedef {"goal" | "recipe" | "plan"} Way how the task is planned: by its goal's words, a recipe, or a plan of one's own
 * @typedef {{key: number, text: string, check: import("./check.js").CheckDraft | null}} CriterionDraft
 * @typedef {{artifact_id: string, filename: string, size_bytes: number}} Attached
 * @typedef {{by: Way, goal: string, recipe: string, parameters: Record<string, string>, plan: string, context: string,
 *   criteria: CriterionDraft[], attachments: Attached[], budget: Record<string, string>, cache: string,
 *   priority: string, effects: string}} Draft
 */

/** The members of a budget, each with its label and the option of `octollm run` that sets it. */
export const BUDGET = [
  { name: "max_tokens", label: "Tokens", option: "--max-tokens", step: 1 },
  { name: "max_time_seconds", label: "Seconds", option: "--max-time", step: 1 },
  { name: "max_cost_dollars", label: "Dollars", option: "--max-cost", step: "any" },
  { name: "max_repairs", label: "Repairs", option: null, step: 1 },
  { name: "max_replans", label: "New plans", option: "--max-replans", step: 1 },
];

/** @returns {Draft} */
export function emptyDraft() {
  return {
    by: "goal", goal: "", recipe: "", parameters: {}, plan: "", context: "", criteria: [], attachments: [],
    budget: {}, cache: "", priority: "", effects: "",
  };
}

/**
 * Return the body of the submission, or where the plan is no JSON. `rows` has for each of the contract's criteria the
 * key of its row: rows without a text are left out.
 * @param {Draft} draft
 * @returns {{contract: Record<string, any>, rows: number[], malformed: import("./json_positions.js").Malformed | null}}
 */
export function contractOf(draft) {
  const goal = draft.goal.trim();
  const written = draft.criteria.filter((row) => row.text.trim() || row.check);
  /** @type {Record<string, any>} */
  const contract = { goal: goal || (draft.by === "recipe" && draft.recipe ? nameOfRun(draft) : "") };
  let malformed = null;
  if (draft.by === "recipe" && draft.recipe) {
    contract.recipe = draft.recipe;
    const given = Object.entries(draft.parameters).filter(([, value]) => value !== "");
    if (given.length) contract.parameters = Object.fromEntries(given);
  }
  if (draft.by === "plan") {
    malformed = readPlaces(draft.plan).malformed;
    if (!malformed) contract.plan = JSON.parse(draft.plan);
  }
  if (draft.context.trim()) contract.context = draft.context;
  if (written.length) contract.acceptance_criteria = written.map(criterionOf);
  if (draft.attachments.length) contract.attachments = draft.attachments.map((file) => file.artifact_id);
  const limits = BUDGET.map(({ name }) => [name, numberOf(draft.budget[name])]).filter(([, value]) => value !== null);
  if (limits.length) contract.budget = Object.fromEntries(limits);
  if (draft.cache) contract.cache = { mode: draft.cache };
  if (draft.priority) contract.priority = draft.priority;
  if (draft.effects) contract.effects = draft.effects;
  return { contract, rows: written.map((row) => row.key), malformed };
}

/** @param {Draft} draft */
function nameOfRun(draft) {
  const given = Object.entries(draft.parameters).filter(([, value]) => value !== "");
  const values = given.map(([name, value]) => `${name}=${value}`).join(", ");
  return `Run the recipe ${draft.recipe}${values ? ` with ${values}` : ""}`.slice(0, 10_000);
}

/** @param {CriterionDraft} row */
function criterionOf({ text, check }) {
  return check ? { text: text.trim(), check: checkOf(check) } : text.trim();
}

/** Return a field's number; its text if it is none, so that the API says so; null if it is empty. @param {string | undefined} text */
function numberOf(text) {
  if (!text?.trim()) return null;
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}

/**
 * Return the octollm line that submits the draft, and what it can't say.
 * @param {Draft} draft
 * @returns {{line: string, lacks: string[]}}
 */
export function runLine(draft) {
  const { contract } = contractOf(draft);
  const words = ["run", contract.goal];
  if (draft.by === "recipe" && draft.recipe) words.push("--recipe", draft.recipe);
  for (const [name, value] of Object.entries(contract.parameters ?? {})) words.push("-p", `${name}=${value}`);
  if (draft.by === "plan") words.push("--plan", "plan.json");
  for (const criterion of contract.acceptance_criteria ?? []) {
    words.push("--criteria", typeof criterion === "string" ? criterion : JSON.stringify(criterion));
  }
  for (const file of draft.attachments) words.push("--attach", file.filename);
  if (contract.context) words.push("--context", "context.txt");
  for (const { name, option } of BUDGET) {
    if (option && contract.budget?.[name] !== undefined) words.push(option, String(contract.budget[name]));
  }
  if (draft.cache) words.push("--cache", draft.cache);
  if (draft.priority) words.push("--priority", draft.priority);
  const lacks = BUDGET.filter(({ name, option }) => !option && contract.budget?.[name] !== undefined).map(
    ({ label }) => label.toLowerCase(),
  );
  if (draft.effects) lacks.push("effects");
  return { line: octollmOf(...words), lacks };
}

/**
 * Return the messages of faults at a place or below it.
 * @param {{path: string, message: string}[]} faults
 * @param {string} pointer
 */
export function faultsAt(faults, pointer) {
  return faults.filter(({ path }) => path === pointer || path.startsWith(`${pointer}/`)).map(({ message }) => message);
}
