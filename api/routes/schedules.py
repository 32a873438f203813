"""The endpoints of /v1/schedules: contracts that are submitted again and again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE

from api.middleware import audit, body, context
from api.middleware.auth import authorize, requires
from api.middleware.idempotency import HEADER, read_key
from api.routes.schedule_request import (
    BACKFILL_EXAMPLES,
    DEFAULTS,
    EXAMPLES,
    BackfillRequestSchema,
    NextQuerySchema,
    ScheduleChangeSchema,
    ScheduleEventQuerySchema,
    ScheduleListQuerySchema,
    ScheduleRequestSchema,
)
from api.routes.task_contract import read_contract, require_priority_scope, screened
from api.schemas.operation import describes
from api.schemas.requests import read
from api.schemas.schedules import (
    BackfillSchema,
    ScheduleEventPageSchema,
    ScheduleEventSchema,
    SchedulePageSchema,
    ScheduleSchema,
    TimesSchema,
    event_reply,
    schedule_reply,
)
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.lifecycle.schedule_fires import in_contract
from orchestrator.lifecycle.schedules import Schedules, times_of
from orchestrator.memory import schedules
from orchestrator.memory.schedules import ScheduleRecord
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import Caller
from orchestrator.models.errors import NotFound
from orchestrator.models.task_contract import Contract

blueprint = Blueprint("schedules", __name__, url_prefix="/v1/schedules")

_CREATE = ScheduleRequestSchema()
_CHANGE = ScheduleChangeSchema()
_LIST_QUERY = ScheduleListQuerySchema(unknown=EXCLUDE)
_EVENT_QUERY = ScheduleEventQuerySchema(unknown=EXCLUDE)
_NEXT_QUERY = NextQuerySchema(unknown=EXCLUDE)
_BACKFILL = BackfillRequestSchema()
_TIMES = TimesSchema()


@blueprint.get("")
@describes({200: SchedulePageSchema}, query=ScheduleListQuerySchema)
@requires("task:read")
def index(principal: Principal) -> Response:
    """List the tenant's schedules, newest first, in pages."""
    query = read(_LIST_QUERY, request.args)
    limit = query["limit"]
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = schedules.list_page(
            conn, principal.tenant, limit=limit + 1, below=query["cursor"], name=query["name"]
        )
    page = found[:limit]
    return jsonify(
        {
            "schedules": [schedule_reply(schedule) for schedule in page],
            "next_cursor": page[-1].id if len(found) > limit else None,
        }
    )


@blueprint.post("")
@describes(
    {201: ScheduleSchema}, 409, body=ScheduleRequestSchema, examples=EXAMPLES, audit_action="schedule.create"
)
@requires("task:submit")
def create(principal: Principal) -> Response:
    """Save a schedule: its contract is checked now as POST /v1/tasks checks it, and again at each time."""
    members = body.read_object()
    given = {**DEFAULTS, **read(_CREATE, members)}
    given["contract"] = _read_contract(principal, members)
    made = _schedules(principal).create(given)
    response = jsonify(schedule_reply(made))
    response.status_code = 201
    response.headers["Location"] = f"/v1/schedules/{made.id}"
    return response


@blueprint.get("/<schedule_id>")
@describes({200: ScheduleSchema})
@requires("task:read")
def show(principal: Principal, schedule_id: str) -> Response:
    """Return a schedule."""
    return jsonify(schedule_reply(_find(principal, schedule_id)))


@blueprint.patch("/<schedule_id>")
@describes(
    {200: ScheduleSchema},
    409,
    body=ScheduleChangeSchema,
    examples={"later": {"cron": "0 8 * * 1-5", "tz": "Europe/Berlin"}, "no overlap": {"overlap": "skip"}},
    audit_action="schedule.change",
)
@requires("task:submit")
def change(principal: Principal, schedule_id: str) -> Response:
    """Replace members of a schedule; new times count from now. Needs the scope task:read too."""
    authorize(principal, "task:read")
    members = body.read_object()
    given = read(_CHANGE, members)
    if "contract" in given:
        given["contract"] = _read_contract(principal, members)
    else:
        require_priority_scope(principal, _contract_of(principal, schedule_id).priority)
    return jsonify(schedule_reply(_schedules(principal).change(schedule_id, given)))


@blueprint.delete("/<schedule_id>")
@describes({204: None}, audit_action="schedule.delete")
@requires("task:submit")
def delete(principal: Principal, schedule_id: str) -> Response:
    """Delete a schedule with its events. Its tasks stay, and open ones go on."""
    _find(principal, schedule_id)
    # the tenants' role deletes nothing
    with statement(context.orchestrator().engine) as conn:
        schedules.delete(conn, principal.tenant, schedule_id)
    return Response(status=204)


@blueprint.post("/<schedule_id>/pause")
@describes({200: ScheduleSchema}, is_idempotent=True, audit_action="schedule.pause")
@requires("task:submit")
def pause(principal: Principal, schedule_id: str) -> Response:
    """Pause a schedule; its open tasks go on. Calling twice is safe. Needs the scope task:read too."""
    authorize(principal, "task:read")
    return jsonify(schedule_reply(_schedules(principal).pause(schedule_id)))


@blueprint.post("/<schedule_id>/resume")
@describes({200: ScheduleSchema}, 409, is_idempotent=True, audit_action="schedule.resume")
@requires("task:submit")
def resume(principal: Principal, schedule_id: str) -> Response:
    """End a pause: what was missed is not caught up, and the tasks have the rights of the caller's key.

    Needs the scope task:read too.
    """
    authorize(principal, "task:read")
    require_priority_scope(principal, _contract_of(principal, schedule_id).priority)
    return jsonify(schedule_reply(_schedules(principal).resume(schedule_id)))


@blueprint.post("/<schedule_id>/trigger")
@describes(
    {200: ScheduleEventSchema, 202: ScheduleEventSchema},
    422,
    headers={HEADER: "A trigger with the same key does nothing and gets the first one's event."},
    audit_action="schedule.trigger",
)
@requires("task:submit")
def trigger(principal: Principal, schedule_id: str) -> Response:
    """Fire a schedule now, also a paused one: 202 with the event, whose task started, waits or was skipped.

    `overlap` applies. The schedule's next time does not change.
    """
    require_priority_scope(principal, _contract_of(principal, schedule_id).priority)
    key = read_key({"trigger": schedule_id})
    fired = context.orchestrator().trigger_schedule(
        principal.tenant, schedule_id, once=key.name if key else None
    )
    if fired.event is None:
        # deleted since it was read
        raise NotFound("There is no such schedule; GET /v1/schedules lists them.")
    response = jsonify(event_reply(fired.event))
    response.status_code = 200 if fired.outcome == "repeated" else 202
    return response


@blueprint.post("/<schedule_id>/backfill")
@describes(
    {200: BackfillSchema, 202: BackfillSchema},
    body=BackfillRequestSchema,
    examples=BACKFILL_EXAMPLES,
    is_idempotent=True,
    audit_action="schedule.backfill",
)
@requires("task:submit")
def backfill(principal: Principal, schedule_id: str) -> Response:
    """Start a task for each time of the past that has none, one after the other (at once if overlap is allow)."""
    given = read(_BACKFILL, body.read_object())
    owned = _schedules(principal)
    schedule = owned.find(schedule_id)
    require_priority_scope(principal, Contract.from_record(schedule.contract).priority)
    if given["dry_run"]:
        audit.rename_action("schedule.backfill.preview")
        times = owned.backfill_preview(schedule_id, given["from_"], given["to"])
    else:
        _, times = owned.backfill(schedule_id, given["from_"], given["to"])
    response = jsonify({**_times(schedule, times), "dry_run": given["dry_run"]})
    response.status_code = 200 if given["dry_run"] else 202
    return response


@blueprint.get("/<schedule_id>/next")
@describes({200: TimesSchema}, query=NextQuerySchema)
@requires("task:read")
def upcoming(principal: Principal, schedule_id: str) -> Response:
    """Return the next times of a schedule, without their jitter, also of a paused one."""
    count = read(_NEXT_QUERY, request.args)["count"]
    schedule = _find(principal, schedule_id)
    return jsonify(_times(schedule, times_of(schedule, count=count)))


@blueprint.get("/<schedule_id>/events")
@describes({200: ScheduleEventPageSchema}, query=ScheduleEventQuerySchema)
@requires("task:read")
def history(principal: Principal, schedule_id: str) -> Response:
    """Return what happened to a schedule: fires with their tasks and outcomes, skipped times, pauses; newest first."""
    query = read(_EVENT_QUERY, request.args)
    schedule, limit = _find(principal, schedule_id), query["limit"]
    with tenant_statement(context.orchestrator().engine, principal.tenant) as conn:
        found = schedules.events(conn, schedule, limit=limit + 1, before=query["before"], types=query["type"])
    page = found[:limit]
    return jsonify(
        {
            "events": [event_reply(event) for event in page],
            "next_before": page[-1].id if len(found) > limit else None,
        }
    )


def _schedules(principal: Principal) -> Schedules:
    orchestrator = context.orchestrator()
    caller = Caller(tenant=principal.tenant, key_id=principal.key_id, scopes=principal.scopes)
    # the identity provider's subjects are its own
    is_own = principal.subject == f"{principal.tenant}/{principal.key_id}"
    return Schedules(orchestrator.engine, orchestrator.settings, caller, is_own_token=is_own)


def _find(principal: Principal, schedule_id: str) -> ScheduleRecord:
    return _schedules(principal).find(schedule_id)


def _contract_of(principal: Principal, schedule_id: str) -> Contract:
    return Contract.from_record(_find(principal, schedule_id).contract)


def _read_contract(principal: Principal, members: dict[str, Any]) -> Contract:
    """Return the contract in a request's body, as POST /v1/tasks would take it."""
    settings = context.orchestrator().settings
    with in_contract():
        contract = read_contract(members["contract"], default_budget=settings.budget, tenant=principal.tenant)
    require_priority_scope(principal, contract.priority)
    return screened(contract)


def _times(schedule: ScheduleRecord, times: Sequence[datetime]) -> dict[str, Any]:
    tz = schedule.tz or "UTC"
    zone = ZoneInfo(tz)
    local = [at.astimezone(zone).isoformat(timespec="minutes") for at in times]
    return _TIMES.to_json({"times": times, "local_times": local, "tz": tz})
