// What waits for a person: the proposals, those first that expire first, and the decisions about them.
import { address, Link, setQuery } from "../address.js";
import { ApiError, get, poll } from "../api_client.js";
import { Decision } from "../approvals/decision.js";
import { decidedWords, merged } from "../approvals/decision_call.js";
import { Proposal, Value } from "../approvals/proposal.js";
import { clock } from "../format.js";
import { Badge } from "../parts/badge.js";
import { CommandLines, curlOf, octollmOf } from "../parts/command_lines.js";
import { Notice } from "../parts/notice.js";
import { TimeLeft, useNow } from "../parts/time_left.js";
import { may } from "../session.js";
import { html, useEffect, useRef, useState } from "../vendor.js";

/** @typedef {import("../approvals/decision_call.js").Approval} Approval */

const LIMIT = 50;
// none is open, though there is only one
const NONE = "none";
const PATH = `/v1/approvals?state=pending&sort=expiry&limit=${LIMIT}`;
const ON_EXPIRY = /** @type {Record<string, string>} */ ({
  reject: "it is rejected",
  approve: "it runs without approval",
  fail: "the task fails",
});
const KINDS = /** @type {Record<string, string>} */ ({
  approval: "May it run?",
  question: "A question",
  outcome: "Did it take effect?",
});

/** The page; the open approval is in the URL. */
export default function Approvals() {
  const { list, hasMore, failure, keep } = useApprovals();
  const named = address.value.query.get("approval");
  const chosen = named === NONE ? null : named;
  const only = list?.length === 1 ? list[0]?.approval_id : null;
  const isThere = !chosen || list?.some((one) => one.approval_id === chosen);
  return html`
    <h1>Approvals</h1>
    <${Notice} error=${failure} />
    ${list && !list.length && !chosen && html`<p>Nothing waits for a person.</p>`}
    ${list && !isThere && chosen && html`<${Other} key=${chosen} id=${chosen} onRead=${keep} />`}
    ${list && list.length > 0 && !may("task:approve") && html`<${Notice} tone="warning"><p>Your key may read approvals and not decide them: it lacks the scope task:approve.</p><//>`}
    <ol class="approvals">
      ${list?.map((one) => html`<${Card} key=${one.approval_id} approval=${one} isOpen=${one.approval_id === (named ?? only)} onDecided=${keep} />`)}
    </ol>
    ${hasMore && html`<p class="quiet">There are more: the ${LIMIT} that expire first are shown.</p>`}
    <${CommandLines} cli=${octollmOf("approvals")} curl=${curlOf("GET", PATH)} />
  `;
}

/**
 * What waits, read again every 2 s, with what this page has seen decided since it was opened.
 * @returns {{list: Approval[] | null, hasMore: boolean, failure: Error | null, keep: (approval: Approval) => void}}
 */
function useApprovals() {
  const [list, setList] = useState(/** @type {Approval[] | null} */ (null));
  const [hasMore, setMore] = useState(false);
  const [failure, setFailure] = useState(/** @type {Error | null} */ (null));
  const shown = useRef(/** @type {Approval[]} */ ([]));
  const show = (/** @type {Approval[]} */ next) => {
    shown.current = next;
    setList(next);
  };
  const keep = (/** @type {Approval} */ one) => {
    show(merged([...shown.current.filter((other) => other.approval_id !== one.approval_id), one], []).list);
  };
  useEffect(() => {
    let isShown = true;
    const stop = poll(PATH, {
      onData: (data) => {
        const next = merged(shown.current, data.approvals);
        show(next.list);
        setMore(data.next_cursor !== null);
        setFailure(null);
        for (const id of next.vanished.slice(0, LIMIT)) {
          readOne(id).then((one) => isShown && (one ? keep(one) : show(shown.current.filter((other) => other.approval_id !== id))));
        }
      },
      onError: setFailure,
    });
    return () => {
      isShown = false;
      stop();
    };
  }, []);
  return { list, hasMore, failure, keep };
}

/** @param {string} id @returns {Promise<Approval | null>} null: it can't be read, or was deleted with its task */
async function readOne(id) {
  try {
    return (await get(`/v1/approvals/${encodeURIComponent(id)}`)).data;
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

/** An approval that the URL names and the list lacks: decided before, or unknown. */
function Other(/** @type {{id: string, onRead: (approval: Approval) => void}} */ { id, onRead }) {
  const [isGone, setGone] = useState(false);
  useEffect(() => {
    readOne(id).then((one) => (one ? onRead(one) : setGone(true)));
  }, []);
  return isGone ? html`<${Notice} tone="warning"><p>There is no approval ${id}.</p><//>` : null;
}

/** @param {{approval: Approval, isOpen: boolean, onDecided: (approval: Approval) => void}} props */
function Card({ approval, isOpen, onDecided }) {
  const isPending = approval.state === "pending";
  const id = approval.approval_id;
  return html`<li class=${`approval panel${isPending ? "" : " decided"}`}>
    <h2>
      <button type="button" class="quiet" aria-expanded=${isOpen} aria-controls=${isOpen ? `${id}-body` : null} onClick=${() => setQuery({ approval: isOpen ? NONE : id })}>
        <span aria-hidden="true">${isOpen ? "▾" : "▸"}</span> ${approval.ask || KINDS[approval.kind] || approval.kind}
      </button>
    </h2>
    <p class="row">
      <${Badge} state=${approval.state} />
      <span>${KINDS[approval.kind] ?? approval.kind}</span>
      <span>step <${Link} href=${`/tasks/${approval.task_id}?step=${encodeURIComponent(approval.step_id)}`}>${approval.step_id}<//></span>
      <span class="mono">${approval.proposal.arm}.${approval.proposal.action}</span>
      ${approval.by && html`<span>for ${approval.by}</span>`}
      ${isPending ? html`<${Expiry} approval=${approval} />` : null}
    </p>
    ${!isPending && html`<${Result} approval=${approval} />`}
    ${isOpen &&
    html`<div id=${`${id}-body`}>
      <${Proposal} approval=${approval} />
      <p class="quiet">
        Asked <${Ago} at=${approval.requested_at} /> in round ${approval.round} of <${Link} href=${`/tasks/${approval.task_id}`}>${approval.task_id}<//>.
      </p>
      ${isPending && may("task:approve") && html`<${Decision} approval=${approval} onDecided=${onDecided} />`}
    </div>`}
  </li>`;
}

/** @param {{approval: Approval}} props */
function Expiry({ approval }) {
  const now = useNow();
  const isOver = Date.parse(approval.expires_at) <= now;
  return html`<span class=${Date.parse(approval.expires_at) - now < 60_000 ? "approval-soon" : "quiet"}>
    ${isOver ? "expired " : "expires "}<${TimeLeft} until=${approval.expires_at} now=${now} />${isOver ? ": " : ", then "}${ON_EXPIRY[approval.on_expiry] ?? approval.on_expiry}
  </span>`;
}

/** @param {{at: string}} props */
function Ago({ at }) {
  return html`<${TimeLeft} until=${at} now=${useNow()} />`;
}

/** @param {{approval: Approval & {lost?: boolean}}} props */
function Result({ approval }) {
  return html`<div role="status">
    ${approval.lost && html`<p><strong>Your decision came too late: somebody else was faster.</strong></p>`}
    <p>This was ${decidedWords(approval)}${approval.decided_at ? ` at ${clock(approval.decided_at)}` : ""}.${approval.comment && ` “${approval.comment}”`}</p>
    ${approval.value !== null && html`<details><summary>${approval.state === "edited" ? "The inputs instead" : "The value"}</summary><${Value} label="value" value=${approval.value} /></details>`}
  </div>`;
}

