// Decides one approval: as proposed, with other inputs, with an answer, or not; and says who was faster.
import { ApiError, get, newKey, send } from "../api_client.js";
import { clock } from "../format.js";
import { CommandLines } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { html, useEffect, useId, useRef, useState } from "../vendor.js";
import { decidedWords, decisionBody, decisionLines, decisionPath } from "./decision_call.js";
import { actionSchema } from "./form_fields.js";
import { ValueForm } from "./value_form.js";

/** @typedef {import("./decision_call.js").Approval} Approval */
/** @typedef {import("./decision_call.js").Verb} Verb */

const NAMES = /** @type {Record<Verb, string>} */ ({
  approve: "Approve",
  edit: "Edit the inputs",
  reject: "Reject",
  answer: "Answer",
  run_again: "Run again",
  accept: "It took effect",
});
const VERBS = /** @type {Verb[]} */ (Object.keys(NAMES));
const WITH_VALUE = ["edit", "answer", "accept"];
const SUBMITS = /** @type {Partial<Record<Verb, string>>} */ ({
  edit: "Approve with these inputs",
  answer: "Send the answer",
  accept: "Accept with this output",
});
const MAX_COMMENT = 2000;

/**
 * The controls of a pending approval.
 * @param {{approval: Approval, onDecided: (approval: Approval) => void}} props onDecided: also when somebody else was
 *   faster
 */
export function Decision({ approval, onDecided }) {
  const [comment, setComment] = useState("");
  const [verb, setVerb] = useState(/** @type {Verb | null} */ (null));
  const [value, setValue] = useState(/** @type {unknown} */ (undefined));
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState(/** @type {ApiError | null} */ (null));
  const once = useRef(/** @type {{text: string, key: string}} */ ({ text: "", key: "" }));
  const commentId = useId();
  const schema = useActionSchema(approval, verb === "edit");
  const allowed = VERBS.filter((one) => approval.allow.includes(one));

  /** @param {Verb} chosen @param {unknown} [given] */
  const decide = async (chosen, given) => {
    const body = decisionBody(approval, chosen, { comment, value: given });
    setBusy(true);
    setFailure(null);
    try {
      const headers = { "Idempotency-Key": keyFor(once, JSON.stringify(body)) };
      onDecided((await send("POST", decisionPath(approval), body, { headers })).data);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setFailure(error);
      if (error.status === 409) await readAgain(approval, onDecided);
    } finally {
      setBusy(false);
    }
  };
  /** @param {Verb} chosen */
  const choose = (chosen) => {
    setFailure(null);
    setValue(chosen === "edit" ? approval.proposal.inputs : undefined);
    if (WITH_VALUE.includes(chosen)) setVerb(chosen);
    else decide(chosen);
  };
  const lines = decisionLines(approval, verb ?? allowed[0] ?? "reject", { comment, value });
  return html`<div class="decision">
    ${failure && !(verb && failure.details.errors) && html`<${Refusal} failure=${failure} />`}
    <div class="value-field">
      <label for=${commentId}>Comment <span class="hint">optional; the task's trace and its client get it</span></label>
      <input id=${commentId} maxlength=${MAX_COMMENT} autocomplete="off" value=${comment} onInput=${(/** @type {any} */ event) => setComment(event.currentTarget.value)} />
    </div>
    ${verb && schema !== undefined
      ? html`<${ValueForm}
          key=${verb}
          title=${verb === "edit" ? "Inputs" : verb === "answer" ? "Answer" : "Output"}
          schema=${verb === "edit" ? schema : approval.answer_schema}
          value=${verb === "edit" ? approval.proposal.inputs : undefined}
          submitName=${SUBMITS[verb]}
          isBusy=${isBusy}
          errors=${failure?.details.errors}
          onChange=${setValue}
          onSubmit=${(/** @type {unknown} */ given) => decide(verb, given)}
          onCancel=${() => setVerb(null)}
        />`
      : html`<div class="row">
          ${allowed.map((one, index) => html`<button type="button" class=${one === "reject" ? "danger" : index === 0 ? "primary" : null} disabled=${isBusy} onClick=${() => choose(one)}>${NAMES[one]}</button>`)}
        </div>`}
    <${CommandLines} curl=${lines.curl} cli=${lines.cli} summary=${`As a command: ${NAMES[verb ?? allowed[0] ?? "reject"]}`} />
  </div>`;
}

/**
 * Why a decision was refused; a faster one is told with who and when.
 * @param {{failure: ApiError}} props
 */
function Refusal({ failure }) {
  const { state, decided_at } = failure.details;
  if (failure.status !== 409 || !state || state === "pending") return html`<${Notice} error=${failure} />`;
  return html`<div class="notice warning" role="alert">
    <p>Your decision does not count: this was ${decidedWords(/** @type {any} */ (failure.details))}${decided_at ? ` at ${clock(decided_at)}` : ""}.</p>
  </div>`;
}

/**
 * The schema of the action's inputs, once it is wanted: undefined while it is read, null if it is not known.
 * @param {Approval} approval
 * @param {boolean} isWanted
 * @returns {Record<string, any> | null | undefined}
 */
function useActionSchema({ proposal }, isWanted) {
  const [schema, setSchema] = useState(/** @type {Record<string, any> | null | undefined} */ (isWanted ? undefined : null));
  const [isRead, setRead] = useState(false);
  useEffect(() => {
    if (!isWanted || isRead) return undefined;
    const aborter = new AbortController();
    get("/v1/arms", { signal: aborter.signal })
      .then(({ data }) => actionSchema(data.arms, proposal.arm, proposal.action))
      // without the scope arm:list, or without the arm, the inputs are edited as JSON
      .catch(() => null)
      .then((found) => {
        if (aborter.signal.aborted) return;
        setSchema(found);
        setRead(true);
      });
    return () => aborter.abort();
  }, [isWanted, isRead]);
  return isWanted && !isRead ? undefined : schema;
}

/**
 * The idempotency key of a body: the same one when it is sent again after a lost answer.
 * @param {{current: {text: string, key: string}}} once
 * @param {string} text
 */
function keyFor(once, text) {
  if (once.current.text !== text) {
    once.current = { text, key: newKey() };
  }
  return once.current.key;
}

/** @param {Approval} approval @param {(approval: Approval) => void} onDecided */
async function readAgain(approval, onDecided) {
  try {
    const { data } = await get(`/v1/approvals/${approval.approval_id}`);
    if (data.state !== "pending") onDecided({ ...data, lost: true });
  } catch (error) {
    // the refusal is shown, and the list is read again in 2 s
    if (!(error instanceof ApiError)) throw error;
  }
}
