// What is about to run: the resolved inputs of a step, readable.
import { Viewer } from "../parts/viewer.js";
import { html } from "../vendor.js";

const MAX_INLINE = 200;

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
    ${entries.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd><${Value} label=${name} value=${value} /></dd></div>`)}
    ${!entries.length && !isQuestion && html`<div><dt>inputs</dt><dd class="quiet">none</dd></div>`}
    ${proposal.effect !== null && html`<div><dt>effect</dt><dd><${Value} label="effect" value=${proposal.effect} /></dd></div>`}
  </dl>`;
}

/**
 * A value: short ones on one line, others in the viewer.
 * @param {{label: string, value: unknown}} props
 */
export function Value({ label, value }) {
  if (typeof value !== "object" || value === null) {
    const text = String(value);
    if (text.length <= MAX_INLINE && !text.includes("\n")) return html`<span class="mono">${text}</span>`;
  }
  return html`<${Viewer} value=${value} label=${label} />`;
}
