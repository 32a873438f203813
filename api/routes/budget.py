"""GET /v1/tasks/{id}/budget: what each call to a model reserved and was charged, by time."""

from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, fields, validate

from api.middleware import context
from api.middleware.auth import requires
from api.middleware.task_access import find_task
from api.schemas.fields import Timestamp
from api.schemas.operation import describes
from api.schemas.requests import MAX_EVENTS, read
from api.schemas.responses import ResponseSchema, one_of, status_field, task_id_field
from orchestrator.auth.credential import Principal
from orchestrator.memory import budget
from orchestrator.memory.budget import LedgerEntry
from orchestrator.memory.tenancy import tenant_statement

_MAX_AFTER = 2**31 - 1

# operation ids and the label `endpoint` of metrics contain the name
blueprint = Blueprint("budget", __name__, url_prefix="/v1/tasks")


class BudgetQuerySchema(Schema):
    """Which calls to read: at most `limit` after the first `after`, which is the previous page's `next_after`."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, _MAX_AFTER))
    limit = fields.Integer(load_default=MAX_EVENTS, validate=validate.Range(1, MAX_EVENTS))


class BudgetLimitsSchema(ResponseSchema):
    """What all calls of the task may use."""

    max_tokens = fields.Integer(allow_none=True)
    max_cost_dollars = fields.Float(allow_none=True)


class BudgetTotalsSchema(ResponseSchema):
    """What all calls were charged, and what the open ones reserve; dollars are null if a part is unknown."""

    settled_tokens = fields.Integer()
    settled_dollars = fields.Float(attribute="settled_cost", allow_none=True)
    reserved_tokens = fields.Integer()
    reserved_dollars = fields.Float(attribute="reserved_cost", allow_none=True)


class BudgetEntrySchema(ResponseSchema):
    """A call to a model: reserved `at` before it was sent, charged at `settled_at`.

    `purpose` (the prompt) and `model` (provider:model) are null until it is in the trace. Dollars are null if the
    model's price is unknown; what was settled is null while the call is open.
    """

    at = Timestamp(attribute="reserved_at")
    settled_at = Timestamp(allow_none=True)
    step = fields.String()
    step_id = fields.String()
    round = fields.Integer()
    attempt = fields.Integer()
    call = fields.Integer()
    purpose = fields.String(allow_none=True)
    model = fields.String(allow_none=True)
    reserved_tokens = fields.Integer()
    reserved_dollars = fields.Float(attribute="reserved_cost", allow_none=True)
    settled_tokens = fields.Integer(attribute="spent_tokens", allow_none=True)
    settled_dollars = fields.Float(attribute="spent_cost", allow_none=True)
    state = one_of("reserved", "settled")


class BudgetSchema(ResponseSchema):
    """A task's budget: its limits, the sums of all calls, and a page of the calls in the order of reservation."""

    task_id = task_id_field()
    status = status_field()
    limits = fields.Nested(BudgetLimitsSchema)
    totals = fields.Nested(BudgetTotalsSchema)
    entries = fields.List(fields.Nested(BudgetEntrySchema))
    next_after = fields.Integer()


_QUERY = BudgetQuerySchema(unknown=EXCLUDE)
_BUDGET = BudgetSchema()


@blueprint.get("/<task_id>/budget")
@describes(
    {200: BudgetSchema, 304: None},
    query=BudgetQuerySchema,
    headers={"If-None-Match": "The ETag of an earlier response."},
)
@requires("task:read")
def show(principal: Principal, task_id: str) -> Response:
    """Return what each of a task's calls to models reserved and was charged, with the limits of its budget."""
    query = read(_QUERY, request.args)
    task = find_task(principal, task_id)
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = budget.entries(conn, task.id, after=query["after"], limit=query["limit"])
        totals = budget.totals(conn, task.id)
    reply = {
        "task_id": task.id,
        "status": task.status,
        "limits": task.contract.get("budget") or {},
        "totals": totals,
        "entries": [_entry(entry) for entry in found],
        "next_after": query["after"] + len(found),
    }
    response = jsonify(_BUDGET.to_json(reply))
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def _entry(entry: LedgerEntry) -> dict[str, Any]:
    return {**vars(entry), "state": "reserved" if entry.settled_at is None else "settled"}
