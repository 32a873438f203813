"""The endpoints of /v1/approvals: list and read what waits for a person, decide it, and make a link for somebody."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from api.middleware import body, context
from api.middleware.approval_access import find_approval, require_decider
from api.middleware.auth import requires
from api.middleware.idempotency import REPEATABLE, read_key
from api.schemas.approvals import ApprovalSchema, approval_id_field, approval_reply
from api.schemas.fields import JsonObject, JsonValue, Timestamp, TrimmedText
from api.schemas.operation import describes
from api.schemas.requests import MAX_PAGE, RequestSchema, read
from api.schemas.responses import ResponseSchema
from orchestrator.auth import approval_link
from orchestrator.auth.approval_link import ApprovalLink
from orchestrator.auth.credential import Principal
from orchestrator.lifecycle.approvals import DecisionMade, require_pending
from orchestrator.lifecycle.decision_check import MAX_COMMENT_CHARACTERS, MAX_VALUE_BYTES
from orchestrator.memory import approvals
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.approval import ApprovalState, Decision, Proposal, Verb
from orchestrator.models.caller import Caller
from orchestrator.models.ids import is_approval_id, is_task_id

MAX_NAME_CHARACTERS = 200
MAX_LINK_SECONDS = 7 * 86_400
_HASH = Proposal("executor", "wait", {"seconds": 0}).sha256()
_DECISION_EXAMPLES = {
    "approve": {"decision": "approve", "proposal_hash": _HASH, "comment": "checked the path"},
    "edit": {"decision": "edit", "proposal_hash": _HASH, "inputs": {"seconds": 1}},
    "reject": {"decision": "reject", "proposal_hash": _HASH, "comment": "wrong customer"},
}
_LINK_EXAMPLES = {"for an hour": {"for": "Zoë, accounting", "expires_in": 3600}}
# what a decision's value is called in its body
_VALUES = {Verb.EDIT: "inputs", Verb.ANSWER: "answer", Verb.ACCEPT: "answer"}

blueprint = Blueprint("approvals", __name__, url_prefix="/v1/approvals")


def _require_task(task_id: str) -> None:
    if not is_task_id(task_id):
        raise ValidationError("Not a task's id.")


def _require_cursor(cursor: str) -> None:
    if not is_approval_id(cursor):
        raise ValidationError("Not a cursor of this list.")


def _require_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise ValidationError(f"Must be 1 to {MAX_NAME_CHARACTERS} visible characters.")


class ApprovalListQuerySchema(Schema):
    """Which approvals to list; the cursor is the previous page's `next_cursor`."""

    state = fields.Enum(ApprovalState, by_value=True, load_default=None)
    task_id = fields.String(load_default=None, validate=_require_task)
    assignee = fields.String(load_default=None, validate=_require_name)
    sort = fields.String(load_default="newest", validate=validate.OneOf(["newest", "expiry"]))
    limit = fields.Integer(load_default=20, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(load_default=None, validate=_require_cursor)


class ApprovalPageSchema(ResponseSchema):
    """A page of approvals, in the order of `sort`; request the next page with cursor = `next_cursor`."""

    approvals = fields.List(fields.Nested(ApprovalSchema))
    next_cursor = fields.String(allow_none=True)


class ChoiceRequestSchema(RequestSchema):
    """What is decided: `inputs` come with edit, `answer` with answer, and with accept as the output of the step."""

    decision = fields.Enum(Verb, by_value=True, required=True)
    inputs = JsonObject(max_bytes=MAX_VALUE_BYTES)
    answer = JsonValue(max_bytes=MAX_VALUE_BYTES)
    comment = TrimmedText(load_default="", validate=validate.Length(max=MAX_COMMENT_CHARACTERS))

    @validates_schema
    def _has_its_value(self, members: dict[str, Any], **_: Any) -> None:
        verb = members.get("decision")
        wanted = _VALUES.get(verb) if verb else None
        for name in {"inputs", "answer"} & members.keys() - {wanted}:
            raise ValidationError(f"Does not belong to the decision {verb}.", name)
        if verb and verb.has_value and wanted not in members:
            raise ValidationError(f"The decision {verb} needs it.", wanted or "")


class DecisionRequestSchema(ChoiceRequestSchema):
    """A decision about exactly the proposal with this hash; `via` says by which program."""

    proposal_hash = fields.String(required=True, validate=validate.Regexp(r"^[0-9a-f]{64}\Z"))
    via = fields.String(load_default="api", validate=validate.OneOf(["api", "cli", "console"]))


class LinkRequestSchema(RequestSchema):
    """For whom a link is, which the decision records, and for how many seconds it works."""

    for_ = TrimmedText(data_key="for", required=True, validate=_require_name)
    expires_in = fields.Integer(
        strict=True, load_default=MAX_LINK_SECONDS, validate=validate.Range(60, MAX_LINK_SECONDS)
    )


class LinkSchema(ResponseSchema):
    """A link that shows one proposal and decides it once, without a token; `url` is absolute if PUBLIC_URL is set."""

    approval_id = approval_id_field()
    for_ = fields.String(data_key="for")
    expires_at = Timestamp()
    url = fields.String()


_QUERY = ApprovalListQuerySchema(unknown=EXCLUDE)
_DECISION = DecisionRequestSchema()
_LINK_REQUEST = LinkRequestSchema()
_LINK = LinkSchema()


@blueprint.get("")
@describes(
    {200: ApprovalPageSchema, 304: None},
    query=ApprovalListQuerySchema,
    headers={"If-None-Match": "The ETag of an earlier response."},
)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's approvals in pages: newest first, or with sort=expiry what expires first."""
    query = read(_QUERY, request.args)
    limit, state = query["limit"], query["state"]
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = approvals.list_approvals(
            conn,
            principal.tenant,
            state=state,
            task_id=query["task_id"],
            assignee=query["assignee"],
            limit=limit + 1,
            before=query["cursor"],
            by_expiry=query["sort"] == "expiry",
        )
    page = found[:limit]
    next_cursor = page[-1].id if len(found) > limit else None
    shown = [approval_reply(approval) for approval in page]
    return _conditional(jsonify({"approvals": shown, "next_cursor": next_cursor}))


@blueprint.get("/<approval_id>")
@describes({200: ApprovalSchema, 304: None}, headers={"If-None-Match": "The ETag of an earlier response."})
@requires("task:read")
def show(principal: Principal, approval_id: str) -> Response:
    """Return one approval: what is about to run, who should decide until when, and the decision."""
    return _conditional(jsonify(approval_reply(find_approval(principal.tenant, approval_id))))


def _conditional(response: Response) -> Response:
    """Return the response with an ETag, or 304 if the caller has it."""
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@blueprint.post("/<approval_id>/decision")
@describes(
    {200: ApprovalSchema},
    409,
    body=DecisionRequestSchema,
    headers=REPEATABLE,
    examples=_DECISION_EXAMPLES,
    audit_action="approval.decide",
)
@requires("task:approve")
def decide(principal: Principal, approval_id: str) -> Response:
    """Decide an approval. Of several decisions the first wins; the others get 409 with who decided and when.

    409 codes: already_decided, approval_expired. 403 codes besides that of the scope: not_the_assignee (`by` names
    another key), own_task (APPROVAL_FOUR_EYES is on, and this key submitted the task).
    """
    members = body.read_object()
    approval = find_approval(principal.tenant, approval_id)
    require_decider(principal, approval)
    given = read(_DECISION, members)
    caller = Caller(principal.tenant, principal.key_id, idempotency=read_key(members))
    decided = record_decision(caller, approval, given, decided_by=principal.subject)
    return replayed(jsonify(approval_reply(decided.approval)), is_replay=decided.is_replay)


@blueprint.post("/<approval_id>/link")
@describes(
    {201: LinkSchema}, 409, body=LinkRequestSchema, examples=_LINK_EXAMPLES, audit_action="approval.link"
)
@requires("task:approve")
def issue_link(principal: Principal, approval_id: str) -> Response:
    """Return a link with which a person without a token may see this proposal and decide it once.

    Whoever has the link may decide, so only those who may decide can make one. It ends after `expires_in` seconds,
    with the approval, and when the key that made it is revoked.
    """
    members = body.read_object()
    approval = find_approval(principal.tenant, approval_id)
    require_decider(principal, approval)
    given = read(_LINK_REQUEST, members)
    require_pending(approval)
    orchestrator = context.orchestrator()
    link = ApprovalLink(
        tenant=principal.tenant,
        approval_id=approval.id,
        proposal_hash=approval.proposal_hash,
        person=given["for_"],
        key_id=principal.key_id,
        subject=principal.subject,
        expires_at=int(min(approval.expires_at.timestamp(), time.time() + given["expires_in"])),
    )
    text = approval_link.sign(link, secret=orchestrator.link_secret)
    reply = {
        "approval_id": approval.id,
        "for_": link.person,
        "expires_at": datetime.fromtimestamp(link.expires_at, tz=UTC),
        "url": f"{orchestrator.settings.public_url or ''}/v1/approval-links/{text}",
    }
    response = jsonify(_LINK.to_json(reply))
    response.status_code = 201
    return response


def record_decision(
    caller: Caller, approval: ApprovalRecord, given: Mapping[str, Any], *, decided_by: str
) -> DecisionMade:
    """Store the decision `given`, as validated, and return the approval after it; see Orchestrator.decide."""
    verb: Verb = given["decision"]
    key = caller.idempotency
    decision = Decision(
        verb,
        by=decided_by,
        via=given["via"],
        comment=given["comment"],
        value=given.get(_VALUES.get(verb, "")),
        proposal_hash=given["proposal_hash"],
        # another caller's key is another key, even if it is the same text
        once_name=f"{caller.key_id}:{key.name}" if key else None,
        once_sha256=key.sha256 if key else None,
    )
    return context.orchestrator().decide(caller, approval.id, decision)


def replayed(response: Response, *, is_replay: bool) -> Response:
    """Return the response, marked if it repeats that of an earlier request with the same idempotency key."""
    if is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    return response
