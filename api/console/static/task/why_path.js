// From a verdict down: criterion, evidence, step, attempt, call to a model; each hop is one address and one key.
import { address, Link, setQuery } from "../address.js";
import { duration, money } from "../format.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { ShownViewer, Viewer } from "../parts/viewer.js";
import { createContext, html, useContext, useEffect, useRef, useState } from "../vendor.js";
import { placeOf, readWhy, writeWhy } from "./evidence.js";
import { ModelCall } from "./model_call.js";
import { stepPath, useStep } from "./step_drawer.js";

/**
 * @typedef {import("./evidence.js").WhyAt} WhyAt
 * @typedef {import("./evidence.js").Place} Place
 * @typedef {{key: string, to: Partial<WhyAt>, badge?: string, badgeLabel?: string, text: string, more?: string}} Hop
 */

const SHOWN = 50;
/** Whether the reader has just hopped, so that the focus follows; on a page that has just loaded it stays where it is. */
const Hopped = createContext({ current: false });
const MARKS = new Map([
  [true, ["passed", "met"]],
  [false, ["failed", "failed"]],
  [null, ["not_checked", "not checked"]],
]);

/**
 * The verdict of the round that is shown, or of the last judged one.
 * @param {{state: any, facts: any, n?: number, selected?: string | null, onSelect: (name: string) => void}} props
 */
export function WhyPath({ state, facts, onSelect }) {
  const taskId = facts?.task?.task_id;
  const round = roundOf(state, address.value.query.get("round"));
  if (!taskId || round === null) return null;
  return html`<${Path} key=${round} taskId=${taskId} round=${round} state=${state} onSelect=${onSelect} />`;
}

/** @param {any} state @param {string | null} wanted */
function roundOf(state, wanted) {
  const judged = (state?.verdicts ?? []).map((/** @type {any} */ one) => one.round);
  return judged.includes(Number(wanted)) ? Number(wanted) : (judged.at(-1) ?? null);
}

/** @param {{taskId: string, round: number, state: any, onSelect: (name: string) => void}} props */
function Path({ taskId, round, state, onSelect }) {
  const why = address.value.query.get("why");
  const at = readWhy(why);
  const hopped = useRef(false);
  const section = /** @type {import("../vendor.js").RefObject<HTMLElement | null>} */ (useRef(null));
  const path = stepPath(taskId, "$judge", { round });
  useEffect(() => {
    if (hopped.current) section.current?.querySelector("h2")?.focus();
  }, [why]);
  const { step: judge, failure } = useStep(path, "");
  const verdict = judge?.decisions.find((/** @type {any} */ one) => one.kind === "verdict")?.data;
  if (failure) return html`<${Notice} error=${failure} />`;
  if (!verdict) return null;
  const finding = at.criterion === null ? null : verdict.findings[at.criterion];
  const steps = new Set(Object.keys(state?.rounds?.[round]?.steps ?? {}));
  const place = finding && at.evidence !== null ? placeAt(finding, at.evidence, steps) : null;
  const inside = { taskId, round, at, judge, verdict, finding, steps, place, onSelect };
  const hop = (/** @type {Partial<WhyAt>} */ to) => {
    hopped.current = true;
    setQuery({ why: writeWhy(to) });
  };
  return html`<${Hopped.Provider} value=${hopped}><section class="why panel" aria-labelledby="why-title" ref=${section}
    onKeyDown=${(/** @type {KeyboardEvent} */ event) => section.current && onKey(event, section.current, () => hop(above(at)))}>
    <h2 id="why-title" tabindex="-1">Why</h2>
    <${Crumbs} at=${at} finding=${finding} place=${place} />
    ${finding ? (place ? html`<${EvidenceLevel} ...${inside} />` : html`<${CriterionLevel} ...${inside} />`) : html`<${VerdictLevel} ...${inside} />`}
    <${CommandLines} curl=${curlOf("GET", path)} cli=${octollmOf("trace", taskId, "--kind", "verdict")} />
    <p class="hint"><kbd>j</kbd> <kbd>k</kbd> or arrows move, <kbd>Enter</kbd> follows, <kbd>u</kbd> goes one up.</p>
  </section><//>`;
}

/**
 * j and k, or the arrows, move among the next hops; u goes one up; Enter follows, as it does for every link.
 * @param {KeyboardEvent} event
 * @param {HTMLElement} section
 * @param {() => void} onUp
 */
function onKey(event, section, onUp) {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "u") return onUp();
  const links = [...section.querySelectorAll("a.hop")];
  const active = /** @type {Element} */ (document.activeElement);
  const here = links.indexOf(active);
  // the arrows scroll the texts that have the focus
  if (here < 0 && event.key.startsWith("Arrow") && active.tagName !== "H2") return;
  const to = { j: here + 1, ArrowDown: here + 1, k: here - 1, ArrowUp: here - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const next = links[Math.min(Math.max(to, 0), links.length - 1)];
  if (next instanceof HTMLElement) next.focus();
}

/** @param {WhyAt} at @returns {Partial<WhyAt>} */
function above({ criterion, evidence, attempt, call }) {
  if (call !== null) return { criterion, evidence, attempt };
  if (attempt !== null) return { criterion, evidence };
  return evidence === null ? {} : { criterion };
}

/** @param {any} finding @param {number} index @param {ReadonlySet<string>} steps @returns {Place | null} */
function placeAt(finding, index, steps) {
  const entry = finding.evidence[index];
  if (entry !== undefined) return placeOf(entry, finding, steps);
  // a finding without evidence leads to its own step
  return index === finding.evidence.length && finding.step ? placeOf({ step: finding.step }, finding, steps) : null;
}

/** @param {Partial<WhyAt>} at */
function hrefOf(at) {
  const query = new URLSearchParams(address.value.query);
  const why = writeWhy(at);
  if (why) query.set("why", why);
  else query.delete("why");
  return `${address.value.path}?${query}`;
}

/** @param {{at: WhyAt, finding: any, place: Place | null}} props */
function Crumbs({ at, finding, place }) {
  const { criterion, evidence, attempt, call } = at;
  /** @type {[string, Partial<WhyAt>][]} */
  const crumbs = [["Verdict", {}]];
  if (finding) crumbs.push([`Criterion ${Number(criterion) + 1}`, { criterion }]);
  if (place) crumbs.push([place.step ? `Evidence in ${place.step}` : "Evidence", { criterion, evidence }]);
  if (place && attempt !== null) crumbs.push([`Attempt ${attempt}`, { criterion, evidence, attempt }]);
  if (finding && call !== null) crumbs.push([place ? "Model call" : "Judge's model call", at]);
  return html`<nav aria-label="Path from the verdict"><ol class="crumbs">
    ${crumbs.map(
      ([text, to], index) => html`<li>
        ${index === crumbs.length - 1 ? html`<span aria-current="location">${text}</span>` : html`<${Hopper} to=${to}>${text}<//>`}
      </li>`,
    )}
  </ol></nav>`;
}

/** @param {{to: Partial<WhyAt>, children?: unknown, class?: string}} props */
function Hopper({ to, children, class: look }) {
  const hopped = useContext(Hopped);
  const onClick = (/** @type {MouseEvent} */ event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0) return;
    event.preventDefault();
    hopped.current = true;
    setQuery({ why: writeWhy(to) });
  };
  return html`<${Link} href=${hrefOf(to)} class=${look} onClickCapture=${onClick}>${children}<//>`;
}

/**
 * The next hops as a list.
 * @param {{hops: Hop[], label: string}} props
 */
function Hops({ hops, label }) {
  const list = /** @type {import("../vendor.js").RefObject<HTMLUListElement | null>} */ (useRef(null));
  const hopped = useContext(Hopped);
  const [limit, setLimit] = useState(SHOWN);
  useEffect(() => {
    const first = list.current?.querySelector("a");
    if (hopped.current && first) {
      hopped.current = false;
      first.focus();
    }
  }, [label]);
  if (hops.length === 0) return null;
  return html`<ul class="hops" aria-label=${label} ref=${list}>
      ${hops.slice(0, limit).map(
        (hop) => html`<li key=${hop.key}><${Hopper} to=${hop.to} class="hop">
          ${hop.badge ? html`<${Badge} state=${hop.badge} label=${hop.badgeLabel} />` : null}
          <span>${hop.text}</span>${hop.more ? html`<span class="quiet">${hop.more}</span>` : null}
        <//></li>`,
      )}
    </ul>
    ${hops.length > limit ? html`<button type="button" onClick=${() => setLimit(limit + SHOWN)}>Show more</button>` : null}`;
}

/** @param {{verdict: any, round: number}} props */
function VerdictLevel({ verdict, round }) {
  return html`
    <p class="row"><${Badge} state=${verdict.decision === "passed" ? "done" : verdict.decision === "failed" ? "failed" : "not_checked"} label=${verdict.decision} />
      <span>round ${round}, ${Math.round(verdict.coverage * 100)} % of the required criteria were checked, confidence ${verdict.confidence ?? "not measured"}</span></p>
    <${Hops} label="Criteria" hops=${verdict.findings.map((/** @type {any} */ finding, /** @type {number} */ index) => {
      const [badge, label] = MARKS.get(finding.met) ?? ["not_checked", "not checked"];
      return {
        key: String(index),
        to: { criterion: index },
        badge: badge === "passed" ? "done" : badge,
        badgeLabel: label,
        text: finding.criterion,
        more: [decidedBy(finding), finding.required ? "" : "not required"].filter(Boolean).join(", "),
      };
    })} />
  `;
}

/** @param {any} finding */
function decidedBy(finding) {
  return { rule: "by rule", llm: "by model", not_checked: "" }[/** @type {string} */ (finding.checked_by)] ?? "";
}

/** @param {any} props */
function CriterionLevel({ at, judge, finding, steps }) {
  const [badge, label] = MARKS.get(finding.met) ?? ["not_checked", "not checked"];
  const call = at.call === null ? null : judge.model_calls.find((/** @type {any} */ one) => one.id === at.call);
  if (call) return html`<${ModelCall} call=${call} isChosen=${true} />`;
  const hops = finding.evidence.map((/** @type {any} */ entry, /** @type {number} */ index) => {
    const place = placeOf(entry, finding, steps);
    const asked = judge.model_calls.at(-1);
    return place.model && asked
      ? { key: `e${index}`, to: { criterion: at.criterion, call: asked.id }, text: place.label, more: "the judge's model call" }
      : { key: `e${index}`, to: { criterion: at.criterion, evidence: index }, text: place.label, more: place.step ? `in ${place.step}` : "" };
  });
  if (hops.length === 0 && finding.step) {
    hops.push({ key: "step", to: { criterion: at.criterion, evidence: 0 }, text: `step ${finding.step}`, more: "" });
  }
  return html`
    <p class="row"><${Badge} state=${badge === "passed" ? "done" : badge} label=${label} /> <strong>${finding.criterion}</strong>
      <span class="quiet">${decidedBy(finding)}</span></p>
    <p>${finding.explanation}${finding.reason ? html` <code>${finding.reason}</code>` : null}</p>
    ${hops.length > 0 ? html`<h3>Evidence</h3>` : html`<p class="quiet">There is no evidence.</p>`}
    <${Hops} label="Evidence" hops=${hops} />
  `;
}

/** @param {any} props */
function EvidenceLevel({ taskId, round, at, finding, place, onSelect }) {
  if (!place.step) {
    return html`<p>${place.label}</p><${Viewer} value=${finding.evidence[at.evidence]} label="evidence" />`;
  }
  return html`<${StepLevel} taskId=${taskId} round=${round} at=${at} place=${place} onSelect=${onSelect} />`;
}

/** @param {{taskId: string, round: number, at: WhyAt, place: Place, onSelect: (name: string) => void}} props */
function StepLevel({ taskId, round, at, place, onSelect }) {
  const name = String(place.step);
  // a reused step's attempts and calls are in the task that did the work
  const { step, failure } = useStep(stepPath(taskId, name, { round }), "");
  const origin = useOrigin(step);
  if (failure) return html`<${Notice} error=${failure} />`;
  if (!step) return null;
  const done = step.reused_from ? origin : step;
  const attempt = done?.attempts.find((/** @type {any} */ one) => one.attempt === at.attempt);
  const call = done?.model_calls.find((/** @type {any} */ one) => one.id === at.call);
  const open = () => {
    onSelect(name);
    setQuery({ round: step.round, tab: "output", pointer: place.pointer, quote: place.quote, attempt: null });
  };
  if (call) return html`<${ModelCall} call=${call} isChosen=${true} />`;
  if (attempt) return html`<${AttemptLevel} at=${at} step=${done} attempt=${attempt} />`;
  return html`
    <p class="row"><span>Step <span class="mono">${name}</span>${place.pointer ? html`, <code>${place.pointer}</code>` : null}</span>
      <${Badge} state=${step.status} /><button type="button" onClick=${open}>Open the step</button></p>
    ${place.quote ? html`<blockquote class="quote">${place.quote}<cite>quoted from the output of ${name}</cite></blockquote>` : null}
    ${step.reused_from ? html`<p>Reused from <${Link} href=${`/tasks/${step.reused_from.task_id}`}>${step.reused_from.task_id}<//>.</p>` : null}
    ${step.error ? html`<p><code>${step.error.code}</code> ${step.error.message}</p>` : null}
    ${step.output ? html`<${ShownViewer} shown=${step.output} label=${`output of ${name}`} pointer=${place.pointer} quote=${place.quote} />` : null}
    <h3>Attempts</h3>
    <${Hops} label=${`Attempts of ${name}`} hops=${(done?.attempts ?? []).map((/** @type {any} */ one) => ({
      key: `a${one.attempt}`,
      to: { criterion: at.criterion, evidence: at.evidence, attempt: one.attempt },
      badge: one.outcome ?? "running",
      text: `attempt ${one.attempt}${one.worker ? ` on ${one.worker}` : ""}`,
      more: one.duration_ms === null ? "" : duration(one.duration_ms),
    }))} />
  `;
}

/** @param {any} step */
function useOrigin(step) {
  const from = step?.reused_from;
  const { step: origin } = useStep(from ? stepPath(from.task_id, from.step_id, { round: from.round }) : "", "");
  return origin;
}

/** @param {{at: WhyAt, step: any, attempt: any}} props */
function AttemptLevel({ at, step, attempt }) {
  const calls = step.model_calls.filter((/** @type {any} */ one) => one.attempt === attempt.attempt);
  return html`
    <p class="row"><strong>Attempt ${attempt.attempt}</strong><${Badge} state=${attempt.outcome ?? "running"} />
      <span>${attempt.worker ? html`on <span class="mono">${attempt.worker}</span>` : ""} ${attempt.duration_ms === null ? "" : duration(attempt.duration_ms)}</span></p>
    ${attempt.error ? html`<p><code>${attempt.error.code}</code> ${attempt.error.message}</p>` : null}
    <${Viewer} value=${attempt.provenance} label="provenance of the attempt" />
    <h3>Model calls</h3>
    ${calls.length === 0 ? html`<p class="quiet">No model was asked.</p>` : null}
    <${Hops} label="Model calls" hops=${calls.map((/** @type {any} */ one) => ({
      key: `m${one.id}`,
      to: { ...at, call: one.id },
      text: `${one.provider ?? "no model"}:${one.model ?? ""} ${one.prompt.name}@${one.prompt.version ?? "?"}`,
      more: `${one.input_tokens ?? "?"} + ${one.output_tokens ?? "?"} tokens, ${money(one.cost_dollars)}`,
    }))} />
  `;
}
