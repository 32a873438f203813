// Writes a task and submits it: goal, recipe or plan; criteria, files, budget; checked by the API while it is written.
import { go, Link, setQuery } from "../address.js";
import { ApiError } from "../api_client.js";
import { count } from "../format.js";
import { Attachments } from "../new_task/attachments.js";
import { contractOf, faultsAt, runLine } from "../new_task/contract.js";
import { CriteriaEditor } from "../new_task/criteria_editor.js";
import { useDraft } from "../new_task/draft.js";
import { Faults } from "../new_task/faults.js";
import { OptionsForm } from "../new_task/options_form.js";
import { usePlanCheck } from "../new_task/plan_check.js";
import { PlanEditor } from "../new_task/plan_editor.js";
import { PlanView } from "../new_task/plan_view.js";
import { RecipeForm } from "../new_task/recipe_form.js";
import { submit } from "../new_task/submission.js";
import { CommandLines, curlOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { may } from "../session.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor.js";

/** @typedef {import("../new_task/contract.js").Draft} Draft */

const WAYS = /** @type {[import("../new_task/contract.js").Way, string][]} */ ([
  ["goal", "from its goal"],
  ["recipe", "by a recipe"],
  ["plan", "by a plan of my own"],
]);
/** What is checked before anything is written: the answer has the server's limits. */
const NOTHING_YET = { goal: "-" };

/** @param {import("../pages.js").PageProps} props */
export default function NewTask({ query }) {
  const [draft, change, drop] = useDraft();
  const [isUploading, setUploading] = useState(false);
  const by = wayOf(query.get("by")) ?? draft.by;
  const recipe = query.get("recipe") ?? draft.recipe;
  const whole = useMemo(() => ({ ...draft, by, recipe }), [draft, by, recipe]);
  const { contract, rows, malformed } = useMemo(() => contractOf(whole), [whole]);
  const isWritten = !malformed && Boolean(contract.goal || contract.plan);
  const { checked, isCurrent, failure } = usePlanCheck(isWritten ? contract : NOTHING_YET);
  const faults = useMemo(() => (isWritten && checked?.faults) || [], [isWritten, checked]);

  const onChange = (/** @type {Partial<Draft>} */ members) => {
    if (members.recipe !== undefined) setQuery({ recipe: members.recipe });
    change(members);
  };
  const choose = (/** @type {Draft["by"]} */ way) => {
    setQuery({ by: way === "goal" ? null : way, recipe: way === "recipe" ? recipe : null });
    change({ by: way });
  };
  useEffect(() => setQuery({ by: by === "goal" ? null : by, recipe: by === "recipe" ? recipe : null }), []);
  const steps = (checked?.steps ?? []).map((step) => step.id);
  const changeFiles = (/** @type {(files: Draft["attachments"]) => Draft["attachments"]} */ update) =>
    change((before) => ({ attachments: update(before.attachments) }));
  return html`<div class="new-task">
    <h1>New task</h1>
    <div class="new-task-columns">
      <div class="stack">
        <fieldset class="ways">
          <legend>Plan it</legend>
          ${WAYS.map(
            ([way, words]) => html`<label><input type="radio" name="by" value=${way} checked=${by === way} onChange=${() => choose(way)} /> ${words}</label>`,
          )}
        </fieldset>
        ${by === "recipe" ? html`<${RecipeForm} draft=${whole} onChange=${onChange} faults=${faults} />` : null}
        <${LongText} id="goal" label="Goal" rows="3" value=${draft.goal} limit=${10_000} onChange=${change}
          messages=${[...faultsAt(faults, "/goal"), ...rootFaults(faults)]}
          hint=${by === "recipe" ? "May be left out." : "What to do, in words."} />
        ${by === "plan" ? html`<${PlanEditor} text=${draft.plan} onChange=${(/** @type {string} */ plan) => change({ plan })} faults=${faults} isCurrent=${isCurrent} />` : null}
        <${LongText} id="context" label="Context" rows="2" value=${draft.context} limit=${50_000} onChange=${change}
          messages=${faultsAt(faults, "/context")} hint="Text for the arms to read; may be left out." />
        <${CriteriaEditor} rows=${draft.criteria} sent=${rows} faults=${faults} steps=${steps}
          limit=${checked?.limits.criteria ?? 20} onChange=${(/** @type {any} */ criteria) => change({ criteria })} />
        <${Attachments} attached=${draft.attachments} onChange=${changeFiles} onBusy=${setUploading}
          limits=${checked?.limits ?? null} messages=${faultsAt(faults, "/attachments")} />
        <${OptionsForm} draft=${draft} onChange=${change} faults=${faults} standard=${checked?.budget ?? null} />
      </div>
      <div class="stack">
        <${PlanView} by=${by} contract=${contract} checked=${isWritten ? checked : null} />
        <${Submission} draft=${whole} contract=${contract} isReady=${isWritten && !isUploading}
          isUploading=${isUploading} faults=${isCurrent ? faults : []} failure=${failure} onDone=${drop} />
      </div>
    </div>
  </div>`;
}

/** @param {string | null} name */
function wayOf(name) {
  return WAYS.find(([way]) => way === name)?.[0] ?? null;
}

/** Return the messages of faults that belong to no member. @param {{path: string, message: string}[]} faults */
function rootFaults(faults) {
  return faults.filter(({ path }) => path === "").map(({ message }) => message);
}

/**
 * @param {{id: "goal" | "context", label: string, rows: string, value: string, limit: number, hint: string,
 *   messages: string[], onChange: (change: any) => void}} props
 */
function LongText({ id, label, rows, value, limit, hint, messages, onChange }) {
  return html`<div class="wide">
    <label for=${id}>${label}</label>
    <textarea id=${id} class="wide" rows=${rows} maxlength=${limit} value=${value} aria-describedby=${`${id}-hint`}
      aria-invalid=${messages.length ? "true" : null}
      onInput=${(/** @type {any} */ event) => onChange({ [id]: event.currentTarget.value })}></textarea>
    <${Faults} messages=${messages} />
    <p class="hint" id=${`${id}-hint`}>${hint}</p>
  </div>`;
}

/**
 * @param {{draft: Draft, contract: Record<string, any>, isReady: boolean, isUploading: boolean,
 *   faults: {path: string, message: string}[], failure: Error | null, onDone: () => void}} props
 */
function Submission({ draft, contract, isReady, isUploading, faults, failure, onDone }) {
  const [refusal, setRefusal] = useState(/** @type {Error | null} */ (null));
  const [isBusy, setBusy] = useState(false);
  const isSending = useRef(false);
  const run = async () => {
    if (isSending.current) return;
    isSending.current = true;
    setBusy(true);
    setRefusal(null);
    try {
      const task = await submit(contract);
      onDone();
      go(`/tasks/${task}`);
    } catch (error) {
      setRefusal(error instanceof ApiError && error.status === 0 ? new Error(LOST) : /** @type {Error} */ (error));
    } finally {
      isSending.current = false;
      setBusy(false);
    }
  };
  const { line, lacks } = runLine(draft);
  const without = lacks.length ? `As a command (the octollm line has no option for ${lacks.join(" and ")})` : "As a command";
  return html`<div class="stack submission">
    <${Notice} error=${refusal ?? failure} />
    ${faults.length ? html`<${Notice} tone="warning"><p>${count(faults.length, "fault")} to mend before this can run.</p><//>` : null}
    <button type="button" class="primary" onClick=${run} disabled=${!isReady || isBusy || faults.length > 0}>
      ${isBusy ? "Submitting..." : "Submit the task"}
    </button>
    ${may("task:submit") ? html`<${Link} class="button" href="/schedules?make=1">Schedule it instead<//>` : null}
    <p class="hint" role="status">${isUploading ? "Wait until the files are there, or remove them." : ""}</p>
    <${CommandLines} cli=${line} curl=${curlOf("POST", "/v1/tasks", contract)} summary=${without} />
  </div>`;
}

const LOST = "The connection broke. Submit again: it is the same task, even if the first try arrived.";
