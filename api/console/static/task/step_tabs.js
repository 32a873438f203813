// The tabs of the step drawer; each shows a part of what GET /v1/tasks/{id}/steps/{step} says.
import { address, Link, setQuery } from "../address.js";
import { clock, count, duration, money } from "../format.js";
import { Badge } from "../parts/badge.js";
import { FileList } from "../parts/file_list.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { ShownViewer, Viewer } from "../parts/viewer.js";
import { brief } from "../parts/value_shape.js";
import { html } from "../vendor.js";
import { ModelCall } from "./model_call.js";

/** @typedef {{step: any, onSelect: (name: string) => void}} TabProps */

/** @param {TabProps} props */
export function Inputs({ step, onSelect }) {
  return html`
    ${step.resolved
      ? html`<h3>As the arm got them</h3><${ShownViewer} shown=${step.resolved} label="inputs" />`
      : html`<h3>As planned</h3>${step.unresolved ? html`<p class="quiet">Not resolved: ${step.unresolved}.</p>` : null}
          <${ShownViewer} shown=${step.inputs} label="inputs as planned" />`}
    ${step.references.length > 0
      ? html`<h3>Taken from other steps</h3>
          <ul class="plain-list">${step.references.map((/** @type {any} */ one) => html`<li><${Reference} reference=${one} step=${step} onSelect=${onSelect} /></li>`)}</ul>`
      : null}
    ${step.resolved && step.references.length > 0
      ? html`<details><summary>As planned</summary><${ShownViewer} shown=${step.inputs} label="inputs as planned" /></details>`
      : null}
    ${step.for_each !== null ? html`<h3>For each of</h3><${Viewer} value=${step.for_each} label="the list" />` : null}
    ${step.when ? html`<h3>Only when</h3><${Viewer} value=${step.when} label="the condition" />` : null}
    ${step.acceptance_criteria.length > 0 ? html`<h3>Criteria</h3><${Viewer} value=${step.acceptance_criteria} label="criteria of the step" />` : null}
  `;
}

/** @param {{reference: any, step: any, onSelect: (name: string) => void}} props */
function Reference({ reference, step, onSelect }) {
  const { from } = reference;
  const what = html`<code>${reference.step_id}${reference.pointer}</code>`;
  const place = html`<code>${reference.path || "/"}</code> is ${what}`;
  if (from && from.task_id !== step.task_id) {
    const query = new URLSearchParams({ step: from.step_id, round: String(from.round), tab: "output", pointer: reference.pointer });
    return html`${place} <${Link} href=${`/tasks/${from.task_id}?${query}`}>see it<//>`;
  }
  const open = () => {
    onSelect(reference.step_id);
    setQuery({ round: from?.round, tab: "output", pointer: reference.pointer, quote: null, attempt: null });
  };
  return html`${place} <button type="button" class="quiet" aria-label=${`See ${reference.step_id}${reference.pointer}`} onClick=${open}>see it</button>`;
}

/** @param {TabProps} props */
export function Output({ step, onSelect }) {
  const { query } = address.value;
  return html`
    ${step.error ? html`<h3>Error</h3><${Viewer} value=${step.error} label="error" />` : null}
    ${step.warnings.map((/** @type {string} */ text) => html`<${Notice} tone="warning"><p>${text}</p><//>`)}
    ${step.output ? html`<${ShownViewer} shown=${step.output} label="output" pointer=${query.get("pointer")} quote=${query.get("quote")} />` : null}
    ${!step.output && !step.error ? html`<p class="quiet">There is no output yet.</p>` : null}
    <${FileList} files=${step.files} />
    ${step.items ? html`<${Items} items=${step.items} onSelect=${onSelect} />` : null}
    ${step.evidence.length > 0 ? html`<h3>Evidence</h3><${Evidence} entries=${step.evidence} />` : null}
  `;
}

/** @param {{entries: any[]}} props */
export function Evidence({ entries }) {
  const quotes = entries.filter((one) => typeof one?.quote === "string");
  const others = entries.filter((one) => typeof one?.quote !== "string");
  return html`
    ${quotes.map((one) => html`<blockquote class="quote">${one.quote}<cite>${sourceOf(one)}</cite></blockquote>`)}
    ${others.length > 0 ? html`<${Viewer} value=${others} label="evidence" />` : null}
  `;
}

/** @param {any} entry */
function sourceOf(entry) {
  const place = [entry.file, entry.line].filter((part) => part !== undefined).join(":");
  return [entry.step, place].filter(Boolean).join(" ");
}

/** @param {{items: any, onSelect: (name: string) => void}} props */
function Items({ items, onSelect }) {
  const head = ["Item", "State", "What", "Summary"].map((name) => html`<${HeadCell}>${name}<//>`);
  const total = Object.values(items.counts).reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one, 0);
  const open = (/** @type {string} */ name) => {
    setQuery({ after: null, tab: null, attempt: null, call: null });
    onSelect(name);
  };
  return html`<h3>${count(total, "item")}</h3>
    <${Table} caption="Items" head=${head}>
      ${items.items.map(
        (/** @type {any} */ item) => html`<tr key=${item.index}>
          <td><button type="button" class="quiet mono" onClick=${() => open(item.step_id)}>${item.step_id}</button></td>
          <td><${Badge} state=${item.status} /></td>
          <td>${brief(item.item, 100)}</td>
          <td>${item.error ? `${item.error.code}: ${item.error.message}` : (item.summary ?? "")}</td>
        </tr>`,
      )}
    <//>
    <p class="row">
      ${address.value.query.get("after") ? html`<button type="button" onClick=${() => setQuery({ after: null })}>First page</button>` : null}
      ${items.next_after !== null ? html`<button type="button" onClick=${() => setQuery({ after: items.next_after })}>Next page</button>` : null}
    </p>`;
}

/** @param {TabProps} props */
export function Attempts({ step }) {
  const chosen = Number(address.value.query.get("attempt")) || step.attempts.at(-1)?.attempt;
  if (step.attempts.length === 0) {
    return html`<p class="quiet">${step.reused_from ? "None: the result of an earlier task was reused." : "None yet."}</p>`;
  }
  return html`<ol class="attempts">
    ${step.attempts.map((/** @type {any} */ one) => html`<${Attempt} attempt=${one} isChosen=${one.attempt === chosen} />`)}
  </ol>`;
}

/** @param {{attempt: any, isChosen: boolean}} props */
export function Attempt({ attempt, isChosen }) {
  return html`<li class=${isChosen ? "chosen" : null} aria-current=${isChosen ? "true" : null}>
    <div class="row">
      <button type="button" class="quiet" onClick=${() => setQuery({ attempt: attempt.attempt })}>Attempt ${attempt.attempt}</button>
      <${Badge} state=${attempt.outcome ?? "running"} />
      <span>${attempt.worker ? html`on <span class="mono">${attempt.worker}</span>` : "worker unknown"}</span>
      <span title=${clock(attempt.started_at)}>${attempt.duration_ms === null ? "" : `ran ${duration(attempt.duration_ms)}`}</span>
      ${attempt.waited_ms === null ? null : html`<span class="quiet">waited ${duration(attempt.waited_ms)}</span>`}
    </div>
    ${attempt.error ? html`<p><code>${attempt.error.code}</code> ${attempt.error.message}</p>` : null}
    ${attempt.delay_seconds === null ? null : html`<p class="quiet">The next attempt was put off by ${duration(attempt.delay_seconds * 1000)}.</p>`}
  </li>`;
}

/** @param {TabProps} props */
export function ModelCalls({ step }) {
  const { query } = address.value;
  const [attempt, chosen] = [Number(query.get("attempt")), Number(query.get("call"))];
  const calls = step.model_calls.filter((/** @type {any} */ one) => !attempt || one.attempt === attempt);
  const dearest = step.model_calls.some((/** @type {any} */ one) => one.cost_dollars === null)
    ? null
    : step.model_calls.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + Number(one.cost_dollars), 0);
  if (step.model_calls.length === 0) return html`<p class="quiet">No model was asked.</p>`;
  return html`
    <p>${count(step.model_calls.length, "question")}, ${money(dearest)}
      ${attempt ? html`; those of attempt ${attempt} <button type="button" class="quiet" onClick=${() => setQuery({ attempt: null })}>Show all</button>` : null}</p>
    ${calls.map((/** @type {any} */ one) => html`<${ModelCall} key=${one.id} call=${one} isChosen=${one.id === chosen} />`)}
  `;
}

/** @param {TabProps} props */
export function Provenance({ step }) {
  return html`
    <h3>Provenance</h3><${Viewer} value=${step.provenance} label="provenance" />
    <h3>Usage</h3><${Viewer} value=${step.usage} label="usage" />
    <h3>Decisions about this step</h3>
    ${step.decisions.map(
      (/** @type {any} */ one) => html`<details><summary><code>${one.kind}</code> <span class="quiet">${clock(one.timestamp)}</span></summary>
        <${Viewer} value=${one.data} label=${`decision ${one.kind}`} /></details>`,
    )}
    ${step.is_complete ? null : html`<p class="quiet">Later ones are left out here; the trace has all.</p>`}
  `;
}

/** @param {TabProps} props */
export function Log({ step }) {
  const attempt = Number(address.value.query.get("attempt"));
  const lines = step.log.filter((/** @type {any} */ line) => !attempt || line.attempt === null || line.attempt === attempt);
  return html`
    <p class="quiet">Events, decisions, calls to models, and what tools printed, in the order of time.</p>
    <div class="log" role="region" aria-label="Log" tabindex="0">
      ${lines.map(
        (/** @type {any} */ line) => html`<div class="log-line">
          <span class="log-at" title=${clock(line.timestamp)}>${clock(line.timestamp).slice(11)}</span>
          <span class="log-source">${line.source}</span>
          <span class="text-words">${line.text}</span>
        </div>`,
      )}
    </div>
    ${step.is_complete ? null : html`<p class="quiet">Later lines are left out.</p>`}
  `;
}
