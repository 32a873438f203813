// Chooses a recipe, and asks for its parameters as their JSON Schemas say.
import { get } from "../api_client.js";
import { Notice } from "../parts/notice.js";
import { html, useEffect, useState } from "../vendor.js";
import { faultsAt } from "./contract.js";
import { Faults } from "./faults.js";

/**
 * @typedef {{name: string, schema: any, description: string, required: boolean, default: any}} Parameter
 * @typedef {{recipe: string, description: string, say: string, needs: string, parameters: Parameter[]}} Recipe
 */

/**
 * @param {{draft: import("./contract.js").Draft, onChange: (change: any) => void,
 *   faults: {path: string, message: string}[]}} props
 */
export function RecipeForm({ draft, onChange, faults }) {
  const [recipes, setRecipes] = useState(/** @type {Recipe[] | null} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(() => {
    get("/v1/recipes").then(({ data }) => setRecipes(data.recipes), setFailure);
  }, []);
  if (failure) return html`<${Notice} error=${failure} />`;
  if (!recipes) return html`<p class="quiet">Reading the recipes...</p>`;
  const chosen = recipes.find(({ recipe }) => recipe === draft.recipe);
  const choose = (/** @type {any} */ event) => onChange({ recipe: event.currentTarget.value, parameters: {} });
  return html`<div class="stack">
    <div>
      <label for="recipe">Recipe</label>
      <select id="recipe" value=${draft.recipe} onChange=${choose} aria-describedby="recipe-hint recipe-faults">
        <option value="">choose one</option>
        ${recipes.map(({ recipe }) => html`<option value=${recipe}>${recipe}</option>`)}
      </select>
      <${Faults} id="recipe-faults" messages=${faultsAt(faults, "/recipe")} />
      <p id="recipe-hint" class="hint">${chosen ? hintOf(chosen) : "A recipe is a plan that needs no model."}</p>
    </div>
    ${chosen?.parameters.map(
      (parameter) => html`<${ParameterField}
        key=${`${chosen.recipe} ${parameter.name}`}
        parameter=${parameter}
        value=${draft.parameters[parameter.name] ?? ""}
        messages=${faultsAt(faults, `/parameters/${parameter.name}`)}
        onInput=${(/** @type {string} */ value) => onChange({ parameters: { ...draft.parameters, [parameter.name]: value } })}
      />`,
    )}
    <${Faults} messages=${faults.filter(({ path }) => path === "/parameters").map(({ message }) => message)} />
  </div>`;
}

/** @param {Recipe} recipe */
function hintOf({ description, needs }) {
  return needs ? `${description} Needs ${needs}.` : description;
}

/** @param {{parameter: Parameter, value: string, messages: string[], onInput: (value: string) => void}} props */
function ParameterField({ parameter, value, messages, onInput }) {
  const { name, schema, description, required } = parameter;
  const id = `parameter-${name}`;
  const described = `${id}-hint ${id}-faults`;
  const input = (/** @type {any} */ event) => onInput(event.currentTarget.value);
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  const standard = parameter.default === null || parameter.default === undefined ? "" : textOf(parameter.default);
  return html`<div>
    <label for=${id}>${name}${required ? "" : html` <span class="hint">(may be left out)</span>`}</label>
    ${choices
      ? html`<select id=${id} value=${value} onChange=${input} aria-describedby=${described}>
          <option value="">${standard ? `default: ${standard}` : "not given"}</option>
          ${choices.map((/** @type {any} */ choice) => html`<option value=${textOf(choice)}>${textOf(choice)}</option>`)}
        </select>`
      : html`<input
          id=${id}
          value=${value}
          onInput=${input}
          required=${required}
          inputmode=${schema.type === "integer" || schema.type === "number" ? "decimal" : null}
          maxlength=${schema.maxLength ?? null}
          placeholder=${standard}
          size="40"
          aria-describedby=${described}
          aria-invalid=${messages.length ? "true" : null}
        />`}
    <${Faults} id=${`${id}-faults`} messages=${messages} />
    <p id=${`${id}-hint`} class="hint">${description}${schema.type === "array" ? " Several, separated by commas." : ""}</p>
  </div>`;
}

/** @param {any} value @returns {string} */
function textOf(value) {
  if (Array.isArray(value)) return value.map(textOf).join(",");
  return typeof value === "string" ? value : JSON.stringify(value);
}
