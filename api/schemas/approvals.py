"""An approval as clients see it: the schemas and the serializer that the endpoints and the links share."""

from typing import Any

from marshmallow import fields, validate

from api.schemas.fields import Timestamp
from api.schemas.responses import ResponseSchema, one_of, task_id_field
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.models.approval import ApprovalKind, ApprovalState, Verb


def approval_id_field(attribute: str | None = None) -> fields.String:
    """Return a field that holds an approval's id, read from `attribute`."""
    return fields.String(attribute=attribute, validate=validate.Regexp(r"^appr_[a-zA-Z0-9]{16}$"))


class ProposalSchema(ResponseSchema):
    """What is about to run: an arm's action and its inputs; `effect` is what is known if it was begun and lost."""

    arm = fields.String()
    action = fields.String()
    inputs = fields.Dict()
    effect = fields.Dict(allow_none=True)


class ApprovalSchema(ResponseSchema):
    """A question to a person about a step, and the decision once there is one.

    `kind`: may the step run (approval), what is its output (question), did its effect happen (outcome). `by` names who
    should decide, `allow` what may be decided. A decision must name the `proposal_hash`. `answer_schema` is of the
    answer to a question, and of the output of an accepted step. `value` is what came with the decision: the inputs that
    replace the proposed ones, the answer or the output. `via`: api, cli, console, link, or policy if
    nobody decided in time and `on_expiry` is approve.
    """

    approval_id = approval_id_field("id")
    task_id = task_id_field()
    step_id = fields.String(attribute="step")
    round = fields.Integer()
    kind = one_of(*(kind.value for kind in ApprovalKind))
    state = one_of(*(state.value for state in ApprovalState))
    ask = fields.String()
    by = fields.String(attribute="assignee", allow_none=True)
    allow = fields.List(one_of(*(verb.value for verb in Verb)))
    proposal = fields.Nested(ProposalSchema)
    proposal_hash = fields.String()
    answer_schema = fields.Dict(allow_none=True)
    requested_at = Timestamp(attribute="asked_at")
    expires_at = Timestamp()
    on_expiry = one_of("reject", "approve", "fail")
    decided_by = fields.String(allow_none=True)
    decided_at = Timestamp(allow_none=True)
    via = fields.String(allow_none=True)
    comment = fields.String()
    value = fields.Raw(attribute="answer", allow_none=True)
    links = fields.Dict(keys=fields.String(), values=fields.String())


_APPROVAL = ApprovalSchema()


def approval_members(approval: ApprovalRecord) -> dict[str, Any]:
    """Return what ApprovalSchema serializes, without links."""
    return {**vars(approval), "proposal": {"effect": None, **approval.proposal}}


def approval_reply(approval: ApprovalRecord) -> dict[str, Any]:
    """Return the members of ApprovalSchema for an approval."""
    path = f"/v1/approvals/{approval.id}"
    links = {"self": path, "decision": f"{path}/decision", "task": f"/v1/tasks/{approval.task_id}"}
    return _APPROVAL.to_json({**approval_members(approval), "links": links})
