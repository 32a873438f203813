// Compares two tasks, or two rounds: contract, plan, steps with the first divergence, verdict, cost and time.
import { address, Link, setQuery } from "../address.js";
import { get } from "../api_client.js";
import { bytes, count, duration, money } from "../format.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { HeadCell, Table } from "../parts/table.js";
import { html, useEffect, useState } from "../vendor.js";

/** @type {Record<string, [glyph: string, words: string]>} */
const DIFFERENCES = {
  same: ["=", "same"],
  inputs: ["≠", "inputs differ"],
  output: ["≠", "output differs"],
  status: ["≠", "ended differently"],
  absent: ["−", "only in one"],
};

export default function Compare() {
  const { query } = address.value;
  const asked = {
    left: query.get("left") ?? "",
    right: query.get("right") ?? "",
    leftRound: query.get("left_round") ?? "",
    rightRound: query.get("right_round") ?? "",
  };
  const path = pathOf(asked);
  const { found, failure } = useDifference(path);
  return html`
    <h1>Compare</h1>
    <${Form} key=${JSON.stringify(asked)} asked=${asked} />
    <${Notice} error=${failure} />
    ${path && !found && !failure ? html`<p role="status">Comparing…</p>` : null}
    ${path && found ? html`<${Difference} found=${found} />` : null}
    ${path ? html`<${CommandLines} curl=${curlOf("GET", path)} cli=${cliOf(asked)} />` : null}
  `;
}

/** @typedef {{left: string, right: string, leftRound: string, rightRound: string}} Asked */

/** @param {Asked} asked */
function roundsOf({ leftRound, rightRound }) {
  return leftRound && rightRound ? `${leftRound},${rightRound}` : null;
}

/** @param {Asked} asked */
function pathOf(asked) {
  const { left, right } = asked;
  const rounds = roundsOf(asked);
  if (!/^task_[0-9A-Za-z]{16}$/.test(left) || (!right && !rounds)) return "";
  const query = new URLSearchParams();
  if (right) query.set("other", right);
  if (rounds) query.set("rounds", rounds);
  return `/v1/tasks/${left}/diff?${query}`;
}

/** @param {Asked} asked */
function cliOf(asked) {
  const rounds = roundsOf(asked);
  return octollmOf("diff", asked.left, asked.right || null, ...(rounds ? ["--rounds", rounds] : []));
}

/** @param {string} path "": nothing is read */
function useDifference(path) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(() => {
    setFound(null);
    setFailure(null);
    if (!path) return;
    const aborter = new AbortController();
    get(path, { signal: aborter.signal }).then(
      ({ data }) => setFound(data),
      (error) => aborter.signal.aborted || setFailure(error),
    );
    return () => aborter.abort();
  }, [path]);
  return { found, failure };
}

/** @param {{asked: Asked}} props */
function Form({ asked }) {
  const onSubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const given = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    setQuery(Object.fromEntries([...given].map(([name, value]) => [name, String(value).trim()])));
  };
  return html`<form class="compare-form" onSubmit=${onSubmit}>
    <${Field} name="left" label="Task" value=${asked.left} />
    <${Field} name="left_round" label="Round" value=${asked.leftRound} isNumber=${true} />
    <${Field} name="right" label="Other task" value=${asked.right} hint="empty: the same task" />
    <${Field} name="right_round" label="Its round" value=${asked.rightRound} isNumber=${true} />
    <button class="primary">Compare</button>
    <p class="hint">Without rounds the last ones are compared.</p>
  </form>`;
}

/** @param {{name: string, label: string, value: string, isNumber?: boolean, hint?: string}} props */
function Field({ name, label, value, isNumber = false, hint }) {
  return html`<div>
    <label for=${`compare-${name}`}>${label}${hint ? html` <span class="hint">${hint}</span>` : null}</label>
    <input id=${`compare-${name}`} name=${name} value=${value} class=${isNumber ? null : "mono"} inputmode=${isNumber ? "numeric" : null}
      pattern=${isNumber ? "[0-9]*" : "\\s*task_[0-9A-Za-z]{16}\\s*"} size=${isNumber ? 4 : 24} autocomplete="off" spellcheck="false" />
  </div>`;
}

/** @param {{found: any}} props */
function Difference({ found }) {
  const { left, right, plan, steps, first_divergence: first } = found;
  const differing = steps.filter((/** @type {any} */ step) => step.difference !== "same").length;
  const [isAll, setAll] = useState(false);
  const shown = isAll ? steps : steps.filter((/** @type {any} */ step) => step.difference !== "same");
  return html`
    <${Sides} left=${left} right=${right} />
    ${found.set ? html`<h2>What was set</h2><pre class="mono">${JSON.stringify(found.set, null, 2)}</pre>` : null}
    <h2>First divergence</h2>
    ${first === null
      ? html`<p>No step differs: the same inputs went in, and the same outputs came out.</p>`
      : html`<p><strong class="mono">${first}</strong>: ${describe(steps.find((/** @type {any} */ step) => step.step_id === first))}</p>
          <${Changes} changes=${found.changes} caption=${`What differs in ${first}`} />`}
    <h2>Steps</h2>
    <p class="row"><span>${differing} of ${count(steps.length, "step")} differ.</span>
      <label class="row"><input type="checkbox" checked=${isAll} onChange=${(/** @type {any} */ event) => setAll(event.currentTarget.checked)} /> Show those that are the same</label></p>
    ${shown.length > 0 ? html`<${Steps} steps=${shown} first=${first} found=${found} />` : null}
    ${plan.added.length + plan.removed.length + Object.keys(plan.changed).length > 0 ? html`<${PlanChanges} plan=${plan} />` : null}
    ${found.contract.length > 0 ? html`<h2>Contract</h2><${Changes} changes=${found.contract} caption="What differs in the contract" />` : null}
    ${found.findings.length > 0 ? html`<${Findings} findings=${found.findings} />` : null}
  `;
}

/** @param {any} step */
function describe(step) {
  return DIFFERENCES[step?.difference]?.[1] ?? "";
}

/** @param {{left: any, right: any}} props */
function Sides({ left, right }) {
  const rows = [
    ["Goal", (/** @type {any} */ side) => side.goal],
    ["Verdict", (/** @type {any} */ side) => html`<${Badge} state=${side.decision === "passed" ? "done" : side.decision === "failed" ? "failed" : side.status} label=${side.decision ?? side.status} />`],
    ["Checked", (/** @type {any} */ side) => (side.coverage === null ? "?" : `${Math.round(side.coverage * 100)} % of the criteria`)],
    ["Plan by", (/** @type {any} */ side) => side.mode],
    ["Cost", (/** @type {any} */ side) => `${money(side.cost_dollars)}, ${count(side.tokens_used, "token")}`],
    ["Time", (/** @type {any} */ side) => duration(side.milliseconds)],
  ];
  const headOf = (/** @type {any} */ side) => html`<${HeadCell}><${Link} href=${`/tasks/${side.task_id}?round=${side.round}`}>${side.task_id}<//>, round ${side.round}<//>`;
  return html`<${Table} caption="The two rounds" head=${[html`<${HeadCell}><span class="visually-hidden">What</span><//>`, headOf(left), headOf(right)]}>
    ${rows.map(([name, show]) => html`<tr><th scope="row">${name}</th><td>${/** @type {any} */ (show)(left)}</td><td>${/** @type {any} */ (show)(right)}</td></tr>`)}
  <//>`;
}

/** @param {{changes: any[], caption: string}} props */
function Changes({ changes, caption }) {
  if (changes.length === 0) return null;
  const head = ["Place", "Left", "Right"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`<${Table} caption=${caption} head=${head}>
    ${changes.map((one) => html`<tr><td class="mono">${one.path || "/"}</td><td class="mono compare-left">${one.left ?? "−"}</td><td class="mono compare-right">${one.right ?? "−"}</td></tr>`)}
  <//>`;
}

/** @param {{steps: any[], first: string | null, found: any}} props */
function Steps({ steps, first, found }) {
  const head = ["Step", "Difference", "Left", "Right"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`<${Table} caption="Steps" head=${head}>
    ${steps.map((step) => {
      const [glyph, words] = DIFFERENCES[step.difference] ?? ["?", step.difference];
      return html`<tr key=${step.step_id} class=${step.step_id === first ? "compare-first" : null}>
        <td class="mono">${step.step_id}${step.step_id === first ? html` <strong>first</strong>` : null}</td>
        <td><span aria-hidden="true">${glyph}</span> ${words}${step.same_answers === null ? "" : step.same_answers ? "; models answered the same" : "; models answered differently"}</td>
        <td><${Seen} seen=${step.left} side=${found.left} name=${step.step_id} /></td>
        <td><${Seen} seen=${step.right} side=${found.right} name=${step.step_id} /></td>
      </tr>`;
    })}
  <//>`;
}

/** @param {{seen: any, side: any, name: string}} props */
function Seen({ seen, side, name }) {
  if (!seen) return html`<span class="quiet">not there</span>`;
  const query = new URLSearchParams({ step: name, round: String(side.round), tab: "output" });
  return html`<${Badge} state=${seen.status} /> ${seen.error_code ? html`<code>${seen.error_code}</code> ` : null}${seen.summary ?? ""}
    <div class="quiet">${seen.arm_id}.${seen.action}, ${duration(seen.duration_ms)}, ${bytes(seen.output_bytes)}
      <${Link} href=${`/tasks/${side.task_id}?${query}`} aria-label=${`Open ${name} of ${side.task_id}, round ${side.round}`}>open<//></div>`;
}

/** @param {{plan: any}} props */
function PlanChanges({ plan }) {
  return html`<h2>Plan</h2><ul>
    ${plan.added.map((/** @type {string} */ name) => html`<li>Only on the right: <code>${name}</code></li>`)}
    ${plan.removed.map((/** @type {string} */ name) => html`<li>Only on the left: <code>${name}</code></li>`)}
    ${Object.entries(plan.changed).map(([name, members]) => html`<li><code>${name}</code>: ${/** @type {string[]} */ (members).join(", ")}</li>`)}
  </ul>`;
}

/** @param {{findings: any[]}} props */
function Findings({ findings }) {
  const head = ["Criterion", "Left", "Right"].map((name) => html`<${HeadCell}>${name}<//>`);
  return html`<h2>Criteria</h2><${Table} caption="Criteria that were not judged alike" head=${head}>
    ${findings.map((one) => html`<tr><td>${one.criterion}</td><td><${Met} finding=${one.left} /></td><td><${Met} finding=${one.right} /></td></tr>`)}
  <//>`;
}

/** @param {{finding: any}} props */
function Met({ finding }) {
  if (!finding) return html`<span class="quiet">not asked</span>`;
  const [state, label] = finding.met === null ? ["not_checked", "not checked"] : finding.met ? ["done", "met"] : ["failed", "failed"];
  return html`<${Badge} state=${state} label=${label} /> ${finding.explanation}`;
}
