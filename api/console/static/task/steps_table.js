/** The steps of a round as a table: sortable, with the items of loops to open, and toggles for what matters. */

import { address, setQuery } from "../address.js";
import { count, duration, money } from "../format.js";
import { Badge } from "../parts/badge.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useMemo, useState } from "../vendor.js";
import { isTicking, stateOf } from "./graph_text.js";
import { arranged, costsOf, rowOf } from "./step_row.js";
import { stepsOf } from "./steps_of.js";
import { useNow } from "./use_now.js";

const PART = 300;

/** @type {[sort: string, label: string, isNumber: boolean][]} */
const COLUMNS = [
  ["name", "Step", false],
  ["arm", "Arm", false],
  ["state", "State", false],
  ["attempts", "Attempts", true],
  ["wait", "Waited", true],
  ["run", "Ran", true],
  ["cost", "Cost", true],
  ["error", "Error", false],
];

/**
 * @param {import("../pages/task.js").TaskProps} props
 */
export function StepsTable({ state, facts, round, isLive, selected, onSelect }) {
  const steps = stepsOf(state, round);
  const now = useNow(isLive && state.endedAt === null && steps.some(isTicking), state.lastEventAt ?? 0);
  const costs = useMemo(() => costsOf(facts.calls), [facts.calls]);
  const [most, setMost] = useState(PART);
  const wanted = readQuery(address.value.query);
  if (steps.length === 0) return html`<p class="quiet">There is no plan yet, so there are no steps.</p>`;
  const rows = arranged(steps.map((step) => rowOf(step, { now, costs })), wanted);
  const shown = rows.slice(0, most);
  return html`
    <div class="row">
      <${Toggle} name="not_done" isOn=${wanted.notDone}>Not done<//>
      <${Toggle} name="errors" isOn=${wanted.errorsFirst}>Errors first<//>
      <span class="quiet" role="status">${told(rows.length, steps.length)}</span>
    </div>
    <div class="steps"><${Table} caption="Steps" head=${COLUMNS.map((column) => html`<${Head} key=${column[0]} column=${column} wanted=${wanted} />`)}>
      ${shown.map((row) => html`
        <${Row} key=${row.name} row=${row} isSelected=${row.name === selected} isOpen=${wanted.open.includes(row.name)} open=${wanted.open} onSelect=${onSelect} />
        ${row.step.items && wanted.open.includes(row.name)
          ? html`<${Items} key=${`${row.name}[]`} step=${row.step} now=${now} costs=${costs} selected=${selected} onSelect=${onSelect} />`
          : null}
      `)}
    <//></div>
    ${rows.length > most && html`<button type="button" onClick=${() => setMost(most + PART)}>Show ${Math.min(PART, rows.length - most)} more</button>`}
  `;
}

/**
 * @param {URLSearchParams} query
 */
function readQuery(query) {
  const sort = query.get("sort");
  return {
    sort: sort?.replace(/^-/, "") ?? null,
    isDown: sort?.startsWith("-") ?? false,
    notDone: query.has("not_done"),
    errorsFirst: query.has("errors"),
    open: (query.get("open") ?? "").split(",").filter(Boolean),
  };
}

/**
 * @param {number} shown
 * @param {number} all
 */
function told(shown, all) {
  if (shown === all) return count(all, "step");
  return shown === 0 ? `all of ${count(all, "step")} are done` : `${shown} of ${count(all, "step")}`;
}

/** @param {{name: string, isOn: boolean, children?: unknown}} props */
function Toggle({ name, isOn, children }) {
  return html`<button type="button" class="toggle" aria-pressed=${isOn ? "true" : "false"} onClick=${() => setQuery({ [name]: !isOn })}>${children}</button>`;
}

/** @param {{column: [string, string, boolean], wanted: {sort: string|null, isDown: boolean}}} props */
function Head({ column: [sort, label, isNumber], wanted }) {
  const isSorted = wanted.sort === sort;
  // once up, once down, then in the plan's order again
  const next = !isSorted ? sort : wanted.isDown ? null : `-${sort}`;
  const order = wanted.isDown ? "descending" : "ascending";
  return html`<${HeadCell} isNumber=${isNumber} sorted=${isSorted ? order : null} onSort=${() => setQuery({ sort: next })}>${label}<//>`;
}

/**
 * @param {{row: import("./step_row.js").StepRow, isSelected: boolean, isOpen: boolean, open: string[],
 *   onSelect: (step: string|null) => void}} props
 */
function Row({ row, isSelected, isOpen, open, onSelect }) {
  const { step } = row;
  const { items } = step;
  const toggled = isOpen ? open.filter((name) => name !== row.name) : [...open, row.name];
  return html`<tr class=${isSelected ? "selected" : null} data-step=${row.name} data-state=${step.rowState ?? step.state} data-attempt=${step.attempts.at(-1)?.attempt ?? 0}>
    <th scope="row" class=${step.parent ? "item" : null}>
      <button type="button" class="step-name" aria-current=${isSelected ? "true" : null} onClick=${() => onSelect(row.name)}>${row.name}</button>
      ${items && html`<button type="button" class="step-items" aria-expanded=${isOpen ? "true" : "false"} onClick=${() => setQuery({ open: toggled.join(",") })}>${isOpen ? "▾" : "▸"} ${items.byState.done ?? 0}/${items.count} items</button>`}
    </th>
    <td>${row.arm}</td>
    <td><${Badge} state=${row.state} label=${`${stateOf(step)}${step.isReused || step.reused ? ", reused" : ""}`} /></td>
    <td class="number">${row.attempts || ""}</td>
    <td class="number">${row.waitMs === null ? "" : duration(row.waitMs)}</td>
    <td class="number">${row.runMs === null ? "" : duration(row.runMs)}</td>
    <td class="number">${row.dollars === 0 ? "" : money(row.dollars)}</td>
    <td class="step-error">${row.error}</td>
  </tr>`;
}

/**
 * @param {{step: import("./reduce.js").StepState, now: number, costs: Map<string, number|null>, selected: string|null,
 *   onSelect: (step: string|null) => void}} props
 */
function Items({ step, now, costs, selected, onSelect }) {
  const [most, setMost] = useState(PART);
  const all = Object.values(step.items?.steps ?? {});
  const others = (step.items?.count ?? 0) - all.length;
  const reused = (step.items?.reused ?? 0) - all.filter((item) => item.isReused).length;
  return html`
    ${all.slice(0, most).map((item) => html`<${Row} key=${item.name} row=${rowOf(item, { now, costs })} isSelected=${item.name === selected} isOpen=${false} open=${[]} onSelect=${onSelect} />`)}
    ${all.length > most && html`<tr key="more"><td colspan=${COLUMNS.length}><button type="button" onClick=${() => setMost(most + PART)}>Show more items of ${step.name}</button></td></tr>`}
    ${others > 0 && html`<tr key="others"><td colspan=${COLUMNS.length} class="quiet item">${count(others, "item")} of ${step.name} ${reused > 0 ? `(${reused} reused)` : ""} had no event until now</td></tr>`}
  `;
}
