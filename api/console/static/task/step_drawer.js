// The drawer of one step in one round: inputs, output, attempts, calls to models, provenance, log.
import { address, Link, setQuery } from "../address.js";
import { get } from "../api_client.js";
import { age, clock, duration } from "../format.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { html, useEffect, useRef, useState } from "../vendor.js";
import { RetryDialog } from "./retry_dialog.js";
import { Attempts, Inputs, Log, ModelCalls, Output, Provenance } from "./step_tabs.js";

/** @typedef {{name: string, title: string, count?: (step: any) => number, show: (props: any) => unknown}} Tab */

/** @type {Tab[]} */
const TABS = [
  { name: "inputs", title: "Inputs", show: Inputs },
  { name: "output", title: "Output", show: Output },
  { name: "attempts", title: "Attempts", count: (step) => step.attempts.length, show: Attempts },
  { name: "calls", title: "Model calls", count: (step) => step.model_calls.length, show: ModelCalls },
  { name: "provenance", title: "Provenance", show: Provenance },
  { name: "log", title: "Log", show: Log },
];
/** What the drawer keeps in the address besides the step. */
const OWN = { round: null, attempt: null, tab: null, call: null, pointer: null, quote: null, after: null };

/**
 * The address of a step's details in the API.
 * @param {string} taskId
 * @param {string} name
 * @param {{round?: string | number | null, after?: string | number | null}} [which]
 */
export function stepPath(taskId, name, { round = null, after = null } = {}) {
  const query = new URLSearchParams();
  if (round !== null && round !== "") query.set("round", String(round));
  if (after !== null && after !== "") query.set("after", String(after));
  const text = query.toString();
  return `/v1/tasks/${taskId}/steps/${encodeURIComponent(name)}${text ? `?${text}` : ""}`;
}

/**
 * Shown while a step is selected; Escape closes it and gives the focus back to where it was.
 * @param {{state?: any, facts: any, n?: number, selected: string | null, onSelect: (name: string | null) => void}} props
 */
export function StepDrawer({ state, facts, selected, onSelect }) {
  const taskId = facts?.task?.task_id;
  if (!selected || !taskId) return null;
  return html`<${Drawer} key=${selected} taskId=${taskId} name=${selected} state=${state} onSelect=${onSelect} />`;
}

/** @param {{taskId: string, name: string, state: any, onSelect: (name: string | null) => void}} props */
function Drawer({ taskId, name, state, onSelect }) {
  const { query } = address.value;
  const [round, after] = [query.get("round"), query.get("after")];
  const path = stepPath(taskId, name, { round, after });
  const { step, failure } = useStep(path, changesOf(state, name));
  const heading = /** @type {import("../vendor.js").RefObject<HTMLHeadingElement | null>} */ (useRef(null));
  const close = () => {
    setQuery(OWN);
    onSelect(null);
  };
  useFocus(heading, close);
  const tab = TABS.find((one) => one.name === query.get("tab")) ?? TABS[1];
  return html`<aside class="drawer" aria-labelledby="drawer-title">
    <div class="drawer-head">
      <h2 id="drawer-title" tabindex="-1" ref=${heading}>Step <span class="mono">${name}</span></h2>
      ${step ? html`<${Badge} state=${step.status} />` : null}
      <button type="button" class="quiet drawer-close" aria-label="Close the step" onClick=${close}>✕</button>
    </div>
    <${Notice} error=${failure} />
    ${step && tab
      ? html`<${Facts} step=${step} taskId=${taskId} state=${state} />
          <${TabList} step=${step} chosen=${tab} />
          <div role="tabpanel" id="drawer-panel" aria-labelledby=${`tab-${tab.name}`} tabindex="0" class="drawer-panel">
            <${tab.show} step=${step} onSelect=${onSelect} />
          </div>
          <${CommandLines} curl=${curlOf("GET", path)} cli=${octollmOf("step", taskId, name, ...(round ? ["--round", round] : []))} />`
      : null}
  </aside>`;
}

/**
 * Read a step, and read it again when `version` changes.
 * @param {string} path "": nothing is read
 * @param {string} version
 */
export function useStep(path, version) {
  const [step, setStep] = useState(/** @type {any} */ (null));
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  useEffect(() => {
    if (!path) return;
    const aborter = new AbortController();
    get(path, { signal: aborter.signal }).then(
      ({ data }) => {
        setStep(data);
        setFailure(null);
      },
      (error) => aborter.signal.aborted || setFailure(error),
    );
    return () => aborter.abort();
  }, [path, version]);
  return { step, failure };
}

/**
 * Return a text that changes when events of the step come.
 * @param {any} state
 * @param {string} name
 */
function changesOf(state, name) {
  const seen = state?.rounds?.[state.round]?.steps?.[name];
  if (!seen) return String(state?.status ?? "");
  return [state.round, seen.state, seen.attempts?.length, seen.attempts?.at(-1)?.outcome, seen.message, seen.items?.byState?.done].join(" ");
}

/** @param {import("../vendor.js").RefObject<HTMLElement | null>} heading @param {() => void} close */
function useFocus(heading, close) {
  const latest = useRef(close);
  latest.current = close;
  useEffect(() => {
    const before = document.activeElement;
    heading.current?.focus();
    const onKey = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      latest.current();
    };
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("keydown", onKey);
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
}

/** @param {{step: any, taskId: string, state: any}} props */
function Facts({ step, taskId, state }) {
  const [isRetrying, setRetrying] = useState(false);
  const from = step.reused_from;
  const hasEnded = ["completed", "failed", "cancelled"].includes(state?.status ?? "completed");
  const end = step.finished_at ?? (step.status === "running" ? Date.now() : null);
  return html`
    ${step.description ? html`<p>${step.description}</p>` : null}
    <dl class="facts">
      <dt>Arm</dt><dd class="mono">${[step.arm_id, step.action].filter(Boolean).join(".")}</dd>
      <dt>Round</dt><dd><${RoundPicker} step=${step} /></dd>
      ${step.started_at
        ? html`<dt>Began</dt><dd title=${clock(step.started_at)}>${age(step.started_at)}${end ? `, ran ${duration(new Date(end).getTime() - Date.parse(step.started_at))}` : ""}</dd>`
        : null}
      ${step.worker ? html`<dt>Worker</dt><dd class="mono">${step.worker}</dd>` : null}
      ${step.depends_on.length > 0 ? html`<dt>After</dt><dd class="mono">${step.depends_on.join(", ")}</dd>` : null}
      ${from
        ? html`<dt>Reused</dt><dd><${Link} href=${`/tasks/${from.task_id}?step=${encodeURIComponent(from.step_id)}&round=${from.round}`}>from ${from.task_id}<//></dd>`
        : null}
      ${step.feedback ? html`<dt>Judge said</dt><dd>${step.feedback}</dd>` : null}
      ${step.approval
        ? html`<dt>Asked</dt><dd>${step.approval.ask} <${Badge} state=${step.approval.state} />${step.approval.decided_by ? ` by ${step.approval.decided_by}` : ""} ${step.approval.comment}</dd>`
        : null}
    </dl>
    ${hasEnded && step.kind === "step" && step.part !== "item" && step.part !== "spread"
      ? html`<p><button type="button" onClick=${() => setRetrying(true)}>Retry from here…</button></p>`
      : null}
    ${isRetrying ? html`<${RetryDialog} taskId=${taskId} fromStep=${step.step_id} onClose=${() => setRetrying(false)} />` : null}
  `;
}

/** @param {{step: any}} props */
function RoundPicker({ step }) {
  if (step.rounds.length < 2) return step.round;
  return html`<select aria-label="Round" value=${String(step.round)} onChange=${(/** @type {any} */ event) => setQuery({ round: event.currentTarget.value, attempt: null, call: null })}>
    ${step.rounds.map((/** @type {number} */ number) => html`<option value=${String(number)}>${number}</option>`)}
  </select>`;
}

/** @param {{step: any, chosen: Tab}} props */
function TabList({ step, chosen }) {
  const list = /** @type {import("../vendor.js").RefObject<HTMLDivElement | null>} */ (useRef(null));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const at = TABS.indexOf(chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = TABS[(to + TABS.length) % TABS.length];
    setQuery({ tab: next?.name, pointer: null, quote: null });
    /** @type {HTMLElement | null | undefined} */ (list.current?.querySelector(`#tab-${next?.name}`))?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label="Parts of the step" ref=${list} onKeyDown=${onKey}>
    ${TABS.map((tab) => {
      const count = tab.count?.(step);
      const isChosen = tab === chosen;
      return html`<button type="button" role="tab" id=${`tab-${tab.name}`} aria-selected=${isChosen} aria-controls="drawer-panel" tabindex=${isChosen ? 0 : -1}
        onClick=${() => setQuery({ tab: tab.name, pointer: null, quote: null })}>${tab.title}${count === undefined ? "" : ` (${count})`}</button>`;
    })}
  </div>`;
}
