"""The arms over HTTP: what each can do, how it is now, and what is declared about it."""

from typing import Any

from flask import Blueprint, Flask, Response, jsonify

from api.middleware import audit, body, context
from api.middleware.auth import requires
from api.schemas import examples, requests, responses
from api.schemas.operation import describes
from orchestrator.auth.credential import Principal
from orchestrator.chord.database import statement
from orchestrator.memory import pools
from orchestrator.memory.pools import ArmStatistics
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.arm_capability import ARMS, ArmCapability, canonical_arm

# below it more fails than one bad plan explains; under so many ends there is nothing to conclude
_DEGRADED_SUCCESS_RATE = 0.5
_MIN_ENDS = 20
_FROM_BEST = ("healthy", "degraded", "unavailable")

blueprint = Blueprint("arms", __name__, url_prefix="/v1")


def install(app: Flask) -> None:
    """Add the endpoints."""
    app.register_blueprint(blueprint)


@blueprint.get("/arms")
@blueprint.get("/capabilities")
@describes({200: responses.ArmList})
@requires("arm:list")
def index(principal: Principal) -> Response:
    """List the arms, with what the caller's tenant declared about them."""
    with statement(context.orchestrator().engine) as conn:
        found = pools.arm_statistics(conn, tenant=principal.tenant)
    return jsonify(arms=[describe(arm, found[arm.arm_id]) for arm in ARMS.values()])


@blueprint.post("/arms/register")
@describes({200: responses.Registered}, body=requests.ArmRegistration, examples=examples.ARMS)
@requires("arm:register")
def register(principal: Principal) -> Response:
    """Replace an arm's declared status and metadata: what is measured wins, and only the caller's tenant sees it."""
    declared = requests.read(requests.ARM, body.read_object())
    arm_id = canonical_arm(declared["arm_id"])
    audit.concerns(arm_id)
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
    """Return an arm as clients see it."""
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
    """Return the worse of what is measured (workers that live, steps that succeed) and what was declared."""
    measured = "healthy"
    if now.workers == 0:
        measured = "unavailable"
    elif now.attempts >= _MIN_ENDS and now.successes / now.attempts < _DEGRADED_SUCCESS_RATE:
        measured = "degraded"
    return max(measured, now.declared_status or "healthy", key=_FROM_BEST.index)
