// What is about to run: the resolved inputs of a step, readable; a patch as its lines.
import { count } from "../format.js";
import { html, useState } from "../vendor.js";
import { isPatch, patchLines } from "./patch_lines.js";

const SHOWN_CHARACTERS = 4000;

/**
 * The inputs of a proposal, and what is known of an effect that was begun and lost. Of a question, what the heading and
 * the form say is left out.
 * @param {{approval: import("./decision_call.js").Approval}} props
 */
export function Proposal({ approval }) {
  const { proposal } = approval;
  const isQuestion = approval.kind === "question";
  const entries = Object.entries(proposal.inputs).filter(
    ([name, value]) => !isQuestion || !(name === "schema" || (name === "question" && value === approval.ask)),
  );
  return html`<dl class="proposal">
    <div><dt>runs</dt><dd class="mono">${proposal.arm}.${proposal.action}</dd></div>
    ${entries.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd><${Value} value=${value} /></dd></div>`)}
    ${!entries.length && !isQuestion && html`<div><dt>inputs</dt><dd class="quiet">none</dd></div>`}
    ${proposal.effect != null && html`<div><dt>effect</dt><dd><${Value} value=${proposal.effect} /></dd></div>`}
  </dl>`;
}

/**
 * A value as text, JSON or a patch; of a long one the beginning, and a button for the whole.
 * @param {{value: unknown}} props
 */
export function Value({ value }) {
  const [isWhole, setWhole] = useState(false);
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const shown = isWhole ? text : text.slice(0, SHOWN_CHARACTERS);
  const rest = text.length - shown.length;
  return html`
    ${isPatch(value) ? html`<${Patch} text=${shown} />` : html`<pre class="value" tabindex="0">${shown}</pre>`}
    ${rest > 0 && html`<button type="button" onClick=${() => setWhole(true)}>Show ${count(rest, "more character")}</button>`}
  `;
}

/** @param {{text: string}} props */
function Patch({ text }) {
  return html`<pre class="value patch" tabindex="0">${patchLines(text).map(
    ([kind, line]) => html`<span class=${kind}>${kind === "added" || kind === "removed" ? html`<span class="visually-hidden">${kind}: </span>` : null}${line}${"\n"}</span>`,
  )}</pre>`;
}
