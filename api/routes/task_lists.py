"""GET /v1/tasks: lists the tenant's tasks with filters, sorts, counts and pages."""

import hashlib
from typing import Any

from flask import Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from api.middleware import context
from api.middleware.auth import requires
from api.routes.task_contract import MAX_ARM_CHARACTERS
from api.routes.tasks import blueprint
from api.schemas.fields import CommaList, SoughtText, Timestamp, UtcDateTime
from api.schemas.operation import describes
from api.schemas.requests import MAX_PAGE, read
from api.schemas.responses import ResponseSchema
from api.schemas.task_status import TaskSummarySchema, task_summary
from orchestrator.auth.credential import Principal
from orchestrator.memory import task_lists
from orchestrator.memory.task_lists import Page, Sort, TaskFilter
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.arm_capability import canonical_arm
from orchestrator.models.execution_state import TaskStatus

MAX_SOUGHT_CHARACTERS = 200
_MAX_SECONDS = 10 * 366 * 86_400
_MAX_DOLLARS = 1_000_000

__all__ = ["blueprint"]


def _require_cursor(cursor: str) -> None:
    if not task_lists.is_cursor(cursor):
        raise ValidationError("Not a cursor of this list.")


class TaskListQuerySchema(Schema):
    """Which tasks to list, in which order; the cursor is the previous page's `next_cursor`.

    `status` is one status or several, separated by commas. `goal` is a part of the goal, `arm` did a step, `recipe`
    made the plan. `from` and `to` limit when a task was submitted (`since` is another name for `from`), `min_duration`
    (seconds, until now for an open task) and `min_cost` (dollars) what it took. With `counts` the reply says how many
    tasks of each status the other filters leave.
    """

    status = CommaList([status.value for status in TaskStatus], load_default=None)
    goal = SoughtText(load_default=None, max_characters=MAX_SOUGHT_CHARACTERS)
    arm = SoughtText(load_default=None, max_characters=MAX_ARM_CHARACTERS)
    recipe = SoughtText(load_default=None, max_characters=MAX_SOUGHT_CHARACTERS)
    from_ = UtcDateTime(data_key="from", format="iso", load_default=None)
    since = UtcDateTime(format="iso", load_default=None)
    to = UtcDateTime(format="iso", load_default=None)
    min_duration = fields.Float(load_default=None, validate=validate.Range(0, _MAX_SECONDS))
    min_cost = fields.Float(load_default=None, validate=validate.Range(0, _MAX_DOLLARS))
    sort = fields.Enum(Sort, by_value=True, load_default=Sort.NEWEST)
    counts = fields.Boolean(load_default=False)
    limit = fields.Integer(load_default=20, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(load_default=None, validate=_require_cursor)

    @validates_schema
    def _has_one_start(self, members: dict[str, Any], **_: Any) -> None:
        if members["from_"] and members["since"] and members["from_"] != members["since"]:
            raise ValidationError("Differs from since.", "from")


class StatusCountSchema(ResponseSchema):
    """How many tasks there are; `more` if further ones were not looked at."""

    count = fields.Integer()
    more = fields.Boolean()


class SeenSchema(ResponseSchema):
    """How much of the history this reply is about: the newest `tasks` of the list, back to the time `back_to`."""

    tasks = fields.Integer()
    back_to = Timestamp()


class TaskPageSchema(ResponseSchema):
    """A page of the tenant's tasks; request the next page with cursor = `next_cursor`.

    `seen` is set if the server looked at as many tasks as it may for one reply: further ones may fit. With the sorts
    newest and oldest the next page goes on behind them; the other sorts are about these tasks only.
    """

    tasks = fields.List(fields.Nested(TaskSummarySchema))
    counts = fields.Dict(keys=fields.String(), values=fields.Nested(StatusCountSchema), allow_none=True)
    seen = fields.Nested(SeenSchema, allow_none=True)
    next_cursor = fields.String(allow_none=True)


_QUERY = TaskListQuerySchema(unknown=EXCLUDE)
_SEEN = SeenSchema()
_COUNT = StatusCountSchema()


@blueprint.get("")
@describes(
    {200: TaskPageSchema, 304: None},
    query=TaskListQuerySchema,
    headers={"If-None-Match": "The ETag of an earlier response to the same query."},
)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's tasks in pages; a filtered page may be short though others follow it.

    One reply looks at 10,000 tasks at most (2,000 with goal or recipe), and its counts at 1,000 of each status. The
    sorts newest and oldest go on from there with the next page. longest, dearest and updated sort only these tasks,
    the newest before `to`; choose an earlier `to` for those before. A task whose cost or time of update changes may
    move to a page that was read before.
    """
    query = read(_QUERY, request.args)
    wanted, sort = _filter(query), query["sort"]
    cursor = task_lists.parse_cursor(query["cursor"], sort=sort) if query["cursor"] else None
    tenant = principal.tenant
    with tenant_statement(context.orchestrator().engine, tenant) as conn:
        page = task_lists.find(conn, tenant, wanted=wanted, sort=sort, limit=query["limit"], cursor=cursor)
        counts = task_lists.count_by_status(conn, tenant, wanted=wanted) if query["counts"] else None
        etag = _etag(page, counts)
        if request.if_none_match.contains_weak(etag):
            return _cacheable(Response(status=304), etag)
        found = task_lists.describe(conn, tenant, page.ids)
    reply: dict[str, Any] = {
        "tasks": [task_summary(task) for task in found],
        "counts": {status: _COUNT.to_json(one) for status, one in counts.items()} if counts else None,
        "seen": _SEEN.to_json({"tasks": wanted.window, "back_to": page.seen_back_to})
        if page.seen_back_to
        else None,
        "next_cursor": str(page.next_cursor) if page.next_cursor else None,
    }
    return _cacheable(jsonify(reply), etag)


def _filter(query: dict[str, Any]) -> TaskFilter:
    return TaskFilter(
        statuses=query["status"] or (),
        goal=query["goal"],
        arm=canonical_arm(query["arm"]) if query["arm"] else None,
        recipe=query["recipe"],
        submitted_from=query["from_"] or query["since"],
        submitted_to=query["to"],
        min_duration=query["min_duration"],
        min_cost=query["min_cost"],
    )


def _etag(page: Page, counts: Any) -> str:
    """Return a digest that changes with the page's tasks, their order, their events and spending, and the counts.

    What else the reply shows of a task changes only together with its number of events.
    """
    state = repr((page.state, page.next_cursor is None, page.seen_back_to, counts))
    return hashlib.sha256(state.encode()).hexdigest()[:32]


def _cacheable(response: Response, etag: str) -> Response:
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(etag)
    return response
