// One question to models: prompt, model, tokens, cost, and each request that was sent for it.
import { clock, count, duration, money } from "../format.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { html } from "../vendor.js";

/** @param {{call: any, isChosen?: boolean}} props */
export function ModelCall({ call, isChosen = false }) {
  const who = call.provider ? `${call.provider}:${call.model}` : "no model answered";
  return html`<section class=${isChosen ? "model-call chosen" : "model-call"} aria-current=${isChosen ? "true" : null}>
    <h3><span class="mono">${who}</span> <span class="quiet" title=${clock(call.asked_at)}>${call.work ?? ""}</span></h3>
    ${call.fake ? html`<${Notice} tone="warning"><p>A fake model for tests answered, not a real one.</p><//>` : null}
    ${call.error ? html`<p>Failed with <code>${call.error}</code>.</p>` : null}
    <dl class="facts">
      <dt>Prompt</dt><dd class="mono">${call.prompt.name}@${call.prompt.version ?? "?"}</dd>
      <dt>Prompt's sha256</dt><dd class="mono">${call.prompt.sha256 ?? "? (this server has another version)"}</dd>
      <dt>Tokens</dt><dd>${call.input_tokens ?? "?"} in, ${call.output_tokens ?? "?"} out</dd>
      <dt>Cost</dt><dd>${money(call.cost_dollars)}</dd>
      <dt>Failover</dt><dd>${call.failover ? "yes: another model was tried first" : "no"}</dd>
      <dt>Asked again</dt><dd>${call.corrections > 0 ? `${count(call.corrections, "time")}: the answer did not fit` : "no"}</dd>
      <dt>Attempt</dt><dd>${call.attempt ?? "?"}</dd>
    </dl>
    ${call.calls.length > 0 ? html`<${Requests} calls=${call.calls} />` : null}
  </section>`;
}

/** @param {{calls: any[]}} props */
function Requests({ calls }) {
  const head = ["Model", "Outcome", "Time", "Tokens", "Cost"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`<${Table} caption="Requests" head=${head}>
    ${calls.map(
      (one) => html`<tr>
        <td class="mono">${one.provider}:${one.model}</td>
        <td>${one.outcome}${one.called === false ? " (not called)" : ""} ${one.detail ?? ""}</td>
        <td class="number">${one.milliseconds === undefined ? "?" : duration(one.milliseconds)}</td>
        <td class="number">${one.input_tokens ?? "?"} + ${one.output_tokens ?? "?"}</td>
        <td class="number">${money(one.cost_dollars)}</td>
      </tr>`,
    )}
  <//>`;
}
