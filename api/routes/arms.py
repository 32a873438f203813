"""The endpoints of /v1/arms: list the arms with their state, and declare an arm's status and metadata."""

from typing import Any

from flask import Blueprint, Response, jsonify
from marshmallow import ValidationError, fields, validate

from api.middleware import audit, body, context
from api.middleware.auth import requires
from api.schemas.fields import JsonObject
from api.schemas.operation import describes
from api.schemas.requests import RequestSchema, read
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.memory import pools
from orchestrator.memory.pools import ArmStatistics
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.arm_capability import ARMS, ArmCapability, canonical_arm
from orchestrator.models.task_contract import MAX_CONTEXT_BYTES

# a lower rate is more than one bad plan explains; fewer attempts prove nothing
_DEGRADED_SUCCESS_RATE = 0.5
_MIN_ATTEMPTS = 20
_BEST_FIRST = ("healthy", "degraded", "unavailable")
_EXAMPLES = {"for maintenance": {"arm_id": "coder", "status": "degraded", "metadata": {"until": "noon"}}}

blueprint = Blueprint("arms", __name__, url_prefix="/v1")


def _require_known_arm(name: str) -> None:
    if canonical_arm(name) not in ARMS:
        raise ValidationError(f"Unknown arm; known: {', '.join(ARMS)}.")


class ArmRegistrationSchema(RequestSchema):
    """A client's declaration about an arm; the registry's own members are accepted and ignored."""

    arm_id = fields.String(required=True, validate=_require_known_arm)
    status = fields.String(load_default="healthy", validate=validate.OneOf(_BEST_FIRST))
    metadata = JsonObject(load_default=dict)
    name = fields.String()
    description = fields.String()
    capabilities = fields.List(fields.String())
    cost_tier = fields.Integer(strict=True, validate=validate.Range(1, 5))
    endpoint = fields.String()
    input_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES)
    output_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES)


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
    """An arm after a declaration."""

    status = fields.String()
    arm = fields.Nested(ArmSchema)


_REGISTRATION = ArmRegistrationSchema()


@blueprint.get("/arms")
@blueprint.get("/capabilities")
@describes({200: ArmListSchema})
@requires("arm:list")
def index(principal: Principal) -> Response:
    """List the arms, with the declarations of the caller's tenant."""
    with statement(context.orchestrator().engine) as conn:
        found = pools.arm_statistics(conn, tenant=principal.tenant)
    return jsonify(arms=[describe(arm, found[arm.arm_id]) for arm in ARMS.values()])


@blueprint.post("/arms/register")
@describes(
    {200: RegisteredSchema}, body=ArmRegistrationSchema, examples=_EXAMPLES, audit_action="arm.register"
)
@requires("arm:register")
def register(principal: Principal) -> Response:
    """Replace an arm's declared status and metadata, visible to the caller's tenant only; measured values win."""
    declared = read(_REGISTRATION, body.read_object())
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
    return jsonify(status="updated", arm=describe(ARMS[arm_id], found[arm_id]))


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
        },
    }


def status_of(now: ArmStatistics) -> str:
    """Return the worse of the measured status (live workers, success rate) and the declared one."""
    measured = "healthy"
    if now.workers == 0:
        measured = "unavailable"
    elif now.attempts >= _MIN_ATTEMPTS and now.successes / now.attempts < _DEGRADED_SUCCESS_RATE:
        measured = "degraded"
    return max(measured, now.declared_status or "healthy", key=_BEST_FIRST.index)
