"""The endpoints of /v1/arms: list the arms with their state, declare it, and register arms of one's own."""

from typing import Any

from flask import Blueprint, Response, jsonify
from marshmallow import ValidationError, fields, validate, validates_schema
from sqlalchemy import Connection

from api.middleware import audit, body, context
from api.middleware.auth import authorize, requires
from api.schemas.fields import JsonObject, Timestamp
from api.schemas.operation import describes
from api.schemas.requests import RequestSchema, read
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.auth.credential import Principal
from orchestrator.auth.egress import MAX_URL_CHARACTERS, EgressRules
from orchestrator.chord.database import statement
from orchestrator.lifecycle.arm_registration import ArmRegistrar
from orchestrator.memory import pools, registered_arms
from orchestrator.memory.pools import ArmStatistics
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.arm_capability import ARMS, ArmCapability, canonical_arm
from orchestrator.models.task_contract import MAX_CONTEXT_BYTES
from orchestrator.registry.registration import MAX_MANIFEST_BYTES, MEMBERS
from orchestrator.settings import Settings

# a lower rate is more than one bad plan explains; fewer attempts prove nothing
_DEGRADED_SUCCESS_RATE = 0.5
_MIN_ATTEMPTS = 20
_BEST_FIRST = ("healthy", "degraded", "unavailable")
_EXAMPLES = {"for maintenance": {"arm_id": "coder", "status": "degraded", "metadata": {"until": "noon"}}}

blueprint = Blueprint("arms", __name__, url_prefix="/v1")


class ArmRegistrationSchema(RequestSchema):
    """A declaration about an arm of this system, or with `url` an HTTP arm (docs/http-arms.md).

    In a declaration, the registry's own members are accepted and ignored. `for_all` needs the scope arm:admin.
    """

    arm_id = fields.String(required=True)
    url = fields.String(validate=validate.Length(1, MAX_URL_CHARACTERS))
    for_all = fields.Boolean(load_default=False)
    version = fields.String()
    max_concurrent_tasks = fields.Integer(strict=True)
    actions = JsonObject(max_bytes=MAX_MANIFEST_BYTES)
    status = fields.String(load_default="healthy", validate=validate.OneOf(_BEST_FIRST))
    metadata = JsonObject(load_default=dict)
    name = fields.String()
    description = fields.String()
    capabilities = fields.List(fields.String())
    cost_tier = fields.Integer(strict=True, validate=validate.Range(1, 5))
    endpoint = fields.String()
    input_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES)
    output_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES)

    @validates_schema
    def _require_known_arm(self, members: dict[str, Any], **_: Any) -> None:
        if "url" not in members and canonical_arm(members["arm_id"]) not in list(ARMS):
            raise ValidationError(
                f"Unknown arm; known: {', '.join(ARMS)}. An arm of your own needs a `url`.", "arm_id"
            )


class ArmMetadataSchema(ResponseSchema):
    """What is declared and measured about an arm."""

    version = fields.String()
    model = fields.Raw(allow_none=True)
    average_latency_ms = fields.Float(allow_none=True)
    success_rate = fields.Float(allow_none=True)
    max_concurrent_tasks = fields.Integer()
    queue_depth = fields.Integer()
    workers = fields.Integer()
    busy = fields.Integer()
    outage = fields.String(allow_none=True)


class ArmSchema(ResponseSchema):
    """An arm: its capabilities and its current state."""

    arm_id = fields.String()
    name = fields.String()
    description = fields.String()
    capabilities = fields.List(fields.String())
    cost_tier = fields.Integer(validate=validate.Range(1, 5))
    endpoint = fields.String()
    status = one_of(*_BEST_FIRST)
    input_schema = fields.Dict()
    output_schema = fields.Dict()
    metadata = fields.Nested(ArmMetadataSchema)


class ArmListSchema(ResponseSchema):
    """All arms."""

    arms = fields.List(fields.Nested(ArmSchema))


class RegisteredSchema(ResponseSchema):
    """An arm after a declaration or a registration; a registered one ends at `expires_at` without a heartbeat.

    `secret` verifies the requests that the arm gets. After a declaration the last three are null.
    """

    status = one_of("registered", "updated")
    arm = fields.Nested(ArmSchema)
    expires_at = Timestamp(allow_none=True)
    heartbeat_seconds = fields.Float(allow_none=True)
    secret = fields.String(allow_none=True)


class HeartbeatSchema(ResponseSchema):
    """The new end of a registered arm's life."""

    arm_id = fields.String()
    expires_at = Timestamp()
    heartbeat_seconds = fields.Float()


class WithdrawnSchema(ResponseSchema):
    """An arm that was taken out of use."""

    arm_id = fields.String()
    status = one_of("deleted")


_REGISTRATION = ArmRegistrationSchema()
_REGISTERED = RegisteredSchema()
_HEARTBEAT = HeartbeatSchema()


@blueprint.get("/arms")
@blueprint.get("/capabilities")
@describes({200: ArmListSchema})
@requires("arm:list")
def index(principal: Principal) -> Response:
    """List the arms that the caller's tenant may use, with its declarations; all but people, who have no workers."""
    orchestrator = context.orchestrator()
    with statement(orchestrator.engine) as conn:
        arms = known_arms(conn, orchestrator.settings, principal.tenant)
        found = pools.arm_statistics(conn, arms=arms, tenant=principal.tenant)
    return jsonify(arms=[describe(arm, found[arm.arm_id]) for arm in arms])


def known_arms(conn: Connection, settings: Settings, tenant: str) -> list[ArmCapability]:
    """Return the arms that a tenant may use and that have workers, its registered ones last."""
    # released client libraries refuse a list with an arm that they do not know
    arms = [arm for arm in ARMS.values() if arm.has_workers and arm.tenant in (None, tenant)]
    if EgressRules.for_arms(settings).allows_any:
        registered = registered_arms.offered(conn, tenant)
        arms += [arm.capability() for arm in registered if arm.arm_id not in list(ARMS)]
    return arms


@blueprint.post("/arms/register")
@describes(
    {200: RegisteredSchema, 201: RegisteredSchema},
    409,
    429,
    body=ArmRegistrationSchema,
    examples=_EXAMPLES,
    is_idempotent=True,
    audit_action="arm.register",
)
@requires("arm:register")
def register(principal: Principal) -> Response:
    """Replace an arm's declared status and metadata; with `url`, register an HTTP arm or repeat its registration.

    A declaration is visible to the caller's tenant only, and measured values win. An HTTP arm is available to the
    tenant's plans at once, as `arm_id` or as its full id tenant/arm_id, until its registration expires.
    """
    members = read(_REGISTRATION, body.read_object())
    return _register_remote(principal, members) if "url" in members else _declare(principal, members)


@blueprint.post("/arms/<arm_id>/heartbeat")
@describes({200: HeartbeatSchema}, 404, is_idempotent=True, audit_action="arm.heartbeat")
@requires("arm:register")
def beat(principal: Principal, arm_id: str) -> Response:
    """Keep a registered arm of the caller's tenant available; `arm_id` is the one that it was registered with."""
    life = _registrar(principal).beat(arm_id)
    audit.record_object(life.arm_id)
    return jsonify(_HEARTBEAT.to_json(life))


@blueprint.delete("/arms/<arm_id>")
@describes({200: WithdrawnSchema}, 404, audit_action="arm.delete")
@requires("arm:register")
def withdraw(principal: Principal, arm_id: str) -> Response:
    """Take a registered arm of the caller's tenant out of use; its open steps fail with arm_unavailable.

    An arm for all tenants needs the scope arm:admin.
    """
    registrar = _registrar(principal)
    if registrar.shares(arm_id):
        authorize(principal, "arm:admin")
    full_id = registrar.withdraw(arm_id)
    audit.record_object(full_id)
    return jsonify(arm_id=full_id, status="deleted")


def _registrar(principal: Principal) -> ArmRegistrar:
    orchestrator = context.orchestrator()
    return ArmRegistrar(orchestrator.engine, orchestrator.settings, principal.tenant, principal.subject)


def _register_remote(principal: Principal, members: dict[str, Any]) -> Response:
    if members["for_all"]:
        authorize(principal, "arm:admin")
    manifest: dict[str, Any] = {name: members[name] for name in MEMBERS if name in members}
    done = _registrar(principal).register(manifest, for_all=members["for_all"])
    audit.record_object(done.arm.arm_id)
    with statement(context.orchestrator().engine) as conn:
        found = pools.arm_statistics(conn, arms=[done.arm], tenant=principal.tenant)
    record = {
        "status": "registered" if done.is_new else "updated",
        "expires_at": done.life.expires_at,
        "heartbeat_seconds": done.life.heartbeat_seconds,
        "secret": done.secret,
    }
    shown = describe(done.arm, found[done.arm.arm_id])
    answer = jsonify({**_REGISTERED.to_json(record), "arm": shown})
    answer.status_code = 201 if done.is_new else 200
    return answer


def _declare(principal: Principal, declared: dict[str, Any]) -> Response:
    arm_id = canonical_arm(declared["arm_id"])
    audit.record_object(arm_id)
    engine = context.orchestrator().engine
    with tenant_statement(engine, principal.tenant) as conn:
        pools.declare(
            conn,
            principal.tenant,
            arm_id,
            status=declared["status"],
            metadata=declared["metadata"],
            declared_by=principal.subject,
        )
    with statement(engine) as conn:
        found = pools.arm_statistics(conn, tenant=principal.tenant)
    nothing = {"expires_at": None, "heartbeat_seconds": None, "secret": None}
    return jsonify(status="updated", arm=describe(ARMS[arm_id], found[arm_id]), **nothing)


def describe(arm: ArmCapability, now: ArmStatistics) -> dict[str, Any]:
    """Return the members of ArmSchema for an arm."""
    return {
        "arm_id": arm.arm_id,
        "name": arm.name,
        "description": arm.description,
        "capabilities": list(arm.capabilities),
        "cost_tier": arm.cost_tier,
        "endpoint": arm.endpoint,
        "status": status_of(now),
        "input_schema": arm.input_schema,
        "output_schema": arm.output_schema,
        "metadata": {
            "model": None,
            **now.declared_metadata,
            "version": arm.version,
            "average_latency_ms": now.average_latency_ms,
            "success_rate": now.successes / now.attempts if now.attempts else None,
            "max_concurrent_tasks": now.concurrency or arm.max_concurrent_tasks,
            "queue_depth": now.queued,
            "workers": now.workers,
            "busy": now.busy,
            "outage": now.outage,
        },
    }


def status_of(now: ArmStatistics) -> str:
    """Return the worse of the measured status (live workers, outage, success rate) and the declared one."""
    measured = "healthy"
    if now.workers == 0 or now.outage is not None:
        measured = "unavailable"
    elif now.attempts >= _MIN_ATTEMPTS and now.successes / now.attempts < _DEGRADED_SUCCESS_RATE:
        measured = "degraded"
    return max(measured, now.declared_status or "healthy", key=_BEST_FIRST.index)
