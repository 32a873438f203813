// Pure: a decision as the body of its call, and as lines for a shell.
import { curlOf, octollmOf } from "../parts/shell_line.js";

/**
 * An approval, as GET /v1/approvals gives it.
 * @typedef {{approval_id: string, task_id: string, step_id: string, round: number, kind: string, state: string,
 *   ask: string, by: string | null, allow: string[],
 *   proposal: {arm: string, action: string, inputs: Record<string, unknown>, effect: unknown}, proposal_hash: string,
 *   answer_schema: Record<string, any> | null, requested_at: string, expires_at: string, on_expiry: string,
 *   decided_by: string | null, decided_at: string | null, via: string | null, comment: string, value: unknown}} Approval
 * @typedef {"approve" | "edit" | "reject" | "answer" | "run_again" | "accept"} Verb
 */

/** So many decided approvals stay in the list. */
export const MAX_DECIDED = 50;
/** What a decision's value is called in its body. @type {Partial<Record<Verb, "inputs" | "answer">>} */
const VALUE_NAMES = { edit: "inputs", answer: "answer", accept: "answer" };
const COMMANDS = /** @type {const} */ ({
  approve: "approve",
  edit: "approve",
  reject: "reject",
  answer: "answer",
  run_again: "run-again",
  accept: "accept",
});

/** The path of a decision. @param {Approval} approval */
export function decisionPath(approval) {
  return `/v1/approvals/${approval.approval_id}/decision`;
}

/**
 * The body of a decision.
 * @param {Approval} approval
 * @param {Verb} verb
 * @param {{comment: string, value?: unknown}} given
 * @returns {Record<string, unknown>}
 */
export function decisionBody(approval, verb, { comment, value }) {
  const name = VALUE_NAMES[verb];
  return {
    decision: verb,
    proposal_hash: approval.proposal_hash,
    ...(name ? { [name]: value } : {}),
    ...(comment.trim() ? { comment: comment.trim() } : {}),
    via: "console",
  };
}

/**
 * The same decision as a curl line and an octollm line.
 * @param {Approval} approval
 * @param {Verb} verb
 * @param {{comment: string, value?: unknown}} given
 * @returns {{curl: string, cli: string}}
 */
export function decisionLines(approval, verb, { comment, value }) {
  const { via: _, ...body } = decisionBody(approval, verb, { comment, value });
  const text = VALUE_NAMES[verb] ? JSON.stringify(value ?? null) : null;
  const words = verb === "edit" ? ["--inputs", text] : [text];
  // the command asks for the reason of a rejection
  const reason = comment.trim() || (verb === "reject" ? "because ..." : "");
  return {
    curl: curlOf("POST", decisionPath(approval), body),
    cli: octollmOf(COMMANDS[verb], approval.approval_id, ...words, ...(reason ? ["--comment", reason] : [])),
  };
}

/**
 * A decision that was made, in words: "approved by ann via console".
 * @param {{state: string, decided_by?: string | null, via?: string | null}} decided
 * @returns {string}
 */
export function decidedWords({ state, decided_by = null, via = null }) {
  const by = decided_by ? ` by ${decided_by}` : "";
  return `${state.replaceAll("_", " ")}${by}${via ? ` via ${via}` : ""}`;
}

/**
 * The list to show: what is pending now, then what was seen before and has been decided since, each at its place.
 * @param {Approval[]} shown in the present order
 * @param {Approval[]} pending from the API, in its order
 * @returns {{list: Approval[], vanished: string[]}} vanished: ids of which nothing is known since
 */
export function merged(shown, pending) {
  // an answer may have been sent before the decision that this page knows
  const decided = new Set(shown.filter((one) => one.state !== "pending").map((one) => one.approval_id));
  const ids = new Set(pending.map((one) => one.approval_id).filter((id) => !decided.has(id)));
  const gone = shown.filter((one) => !ids.has(one.approval_id));
  const latest = gone.filter((one) => one.state !== "pending").map((one) => one.decided_at ?? "").sort().at(-MAX_DECIDED) ?? "";
  const kept = gone.filter((one) => one.state === "pending" || (one.decided_at ?? "") >= latest);
  const list = [...pending.filter((one) => ids.has(one.approval_id)), ...kept].sort((one, other) => {
    const [a, b] = [one.expires_at + one.approval_id, other.expires_at + other.approval_id];
    return a < b ? -1 : 1;
  });
  return { list, vanished: kept.filter((one) => one.state === "pending").map((one) => one.approval_id) };
}
