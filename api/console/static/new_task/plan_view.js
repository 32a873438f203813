// What would run: the graph of the steps, the arm of each one, and what they take of the budget.
import { count } from "../format.js";
import { PlanGraph } from "../task/graph.js";
import { html, useMemo, useState } from "../vendor.js";
import { faultsOfPlan } from "./plan_editor.js";

const MOST_STEPS = 200;

/**
 * @param {{by: string, contract: Record<string, any>, checked: import("./plan_check.js").Checked | null}} props
 */
export function PlanView({ by, contract, checked }) {
  const [selected, setSelected] = useState(/** @type {string | null} */ (null));
  const written = contract.plan?.steps ?? contract.plan;
  const steps = useMemo(
    () => (Array.isArray(written) ? written.slice(0, MOST_STEPS) : by === "plan" ? [] : (checked?.steps ?? [])),
    [JSON.stringify(written), by, checked],
  );
  const faults = useMemo(() => faultsOfPlan(checked?.faults ?? []).map(dotted), [checked]);
  return html`<section class="plan-view" aria-label="What would run">
    <h2>What would run</h2>
    <p role="status">${sentenceOf(checked, by)}</p>
    ${steps.length
      ? html`<${PlanGraph} steps=${steps} faults=${faults} selected=${selected} onSelect=${setSelected} />`
      : null}
    ${checked?.steps.length ? html`<${Arms} steps=${checked.steps} selected=${selected} />` : null}
  </section>`;
}

/** A fault with its place as the graph takes it. @param {{path: string, message: string}} fault */
function dotted({ path, message }) {
  return { path: path.slice(1).replaceAll("/", ".").replace(/^(?=\d)/, "steps."), message };
}

/** @param {import("./plan_check.js").Checked | null} checked @param {string} by */
function sentenceOf(checked, by) {
  if (!checked) return by === "goal" ? "Write a goal." : "Nothing yet.";
  if (checked.faults.length) return `${count(checked.faults.length, "fault")}.`;
  if (checked.planned_by === "model") return "A model makes the plan when the task is submitted.";
  const tokens = checked.reserved_tokens.toLocaleString("en-US");
  return `No fault. ${count(checked.steps.length, "step")}, ${tokens} of ${checked.budget?.max_tokens?.toLocaleString("en-US") ?? "?"} tokens.`;
}

/** @param {{steps: any[], selected: string | null}} props */
function Arms({ steps, selected }) {
  return html`<details>
    <summary>The arm of each step</summary>
    <div class="table-scroll">
      <table>
        <thead><tr><th>Step</th><th>Arm</th><th>Tokens</th><th>Why</th></tr></thead>
        <tbody>
          ${steps.map(
            (step) => html`<tr key=${step.id} aria-selected=${step.id === selected ? "true" : null}>
              <td class="mono">${step.id}</td>
              <td class="mono">${step.arm}.${step.action}</td>
              <td class="number">${step.estimate.tokens ?? "?"}</td>
              <td>${step.reason}${step.needs_approval ? "; asks a person first" : ""}${step.for_each ? "; once for each item" : ""}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}
