"""The endpoint behind a link to an approval: GET shows the proposal and never decides, POST decides it once."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from flask import Blueprint, Response, current_app, jsonify
from marshmallow import fields

from api.middleware import audit, body, context, rate_limit
from api.middleware.approval_access import find_approval
from api.middleware.auth import revocation_cache_of
from api.middleware.idempotency import REPEATABLE, read_key
from api.routes.approvals import ChoiceRequestSchema, record_decision, replayed
from api.schemas.approvals import ApprovalSchema, approval_members
from api.schemas.fields import Timestamp
from api.schemas.operation import describes, public
from api.schemas.requests import read
from orchestrator.auth import approval_link
from orchestrator.auth.approval_link import ApprovalLink
from orchestrator.auth.credential import Principal
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.models.caller import Caller

_EXAMPLES = {
    "approve": {"decision": "approve"},
    "reject": {"decision": "reject", "comment": "not today"},
}

# operation ids and the label `endpoint` of metrics contain the name
blueprint = Blueprint("link", __name__, url_prefix="/v1/approval-links")


class LinkedApprovalSchema(ApprovalSchema):
    """An approval as its link shows it, and for whom and until when the link works."""

    for_ = fields.String(data_key="for")
    link_expires_at = Timestamp()


_CHOICE = ChoiceRequestSchema()
_LINKED = LinkedApprovalSchema()


@blueprint.get("/<link>")
@describes({200: LinkedApprovalSchema}, 401, 429, 503, audit_action="approval.open")
@public
def show(link: str) -> Response:
    """Return the proposal of a link. It decides nothing, however often a mail program or a chat opens it."""
    opened = _admit(link)
    return _reply(find_approval(opened.tenant, opened.approval_id), opened)


@blueprint.post("/<link>")
@describes(
    {200: LinkedApprovalSchema},
    401,
    409,
    429,
    503,
    body=ChoiceRequestSchema,
    headers=REPEATABLE,
    examples=_EXAMPLES,
    audit_action="approval.decide",
)
@public
def decide(link: str) -> Response:
    """Decide the proposal that a link shows; the decision records for whom the link was made. 409 as for a token."""
    opened = _admit(link)
    members = body.read_object()
    approval = find_approval(opened.tenant, opened.approval_id)
    given = {**read(_CHOICE, members), "proposal_hash": opened.proposal_hash, "via": "link"}
    caller = Caller(opened.tenant, f"link:{opened.person}", idempotency=read_key(members))
    decided = record_decision(caller, approval, given, decided_by=opened.person)
    return replayed(_reply(decided.approval, opened), is_replay=decided.is_replay)


def _admit(link: str) -> ApprovalLink:
    """Return what a link says, and charge the call to a rate limit of its approval's own.

    Raises InvalidCredential for a link that we did not make, that has expired, or whose maker's key was revoked.
    """
    with rate_limit.counting_failures():
        opened = approval_link.read(link, secret=context.orchestrator().link_secret, now=time.time())
        revocation_cache_of(current_app).require(opened.key_id)
    issuer = Principal(opened.tenant, opened.key_id, frozenset(), subject=opened.subject)
    audit.record_principal(issuer)
    audit.record_object(opened.approval_id)
    rate_limit.charge(replace(issuer, key_id=f"link:{opened.approval_id}"))
    return opened


def _reply(approval: ApprovalRecord, opened: ApprovalLink) -> Response:
    """Return the approval without links that need a token."""
    shown = {
        **approval_members(approval),
        "links": {},
        "for_": opened.person,
        "link_expires_at": datetime.fromtimestamp(opened.expires_at, tz=UTC),
    }
    response = jsonify(_LINKED.to_json(shown))
    # the page that comes later must not pass its address on
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
