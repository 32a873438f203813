"""What operators ask: does the process live, can it work, how much does it do."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import redis
import structlog
from flask import Blueprint, Flask, Response, current_app, jsonify
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from api import current, shapes
from api.operation import describes, public
from orchestrator import permit, redis_link
from orchestrator.arm_capability import ARMS
from orchestrator.bootstrap import Orchestrator
from orchestrator.observability import metric
from orchestrator.observability.census import Census
from orchestrator.settings import Settings
from orchestrator.store import pools
from orchestrator.store.engine import fault_of, is_away, statement

VERSION = version("octollm-orchestrator")
_STARTED = time.monotonic()
_COLLECTORS = "octollm_collectors"

_log = structlog.get_logger(__name__)
blueprint = Blueprint("system", __name__)


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Add the endpoints, at the root and under /v1, and count the app's requests."""
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, url_prefix="/v1", name="v1")
    app.extensions[_COLLECTORS] = [Census(orchestrator.engine, orchestrator.redis), *_count_requests(app)]


@blueprint.get("/health")
@describes({200: shapes.Health})
@public
def health() -> Response:
    """Say that the process answers; depends on nothing."""
    return jsonify(
        status="healthy",
        version=VERSION,
        uptime_seconds=int(time.monotonic() - _STARTED),
        components={"api": "healthy"},
        timestamp=_now(),
    )


@blueprint.get("/ready")
@describes({200: shapes.Readiness, 503: shapes.Readiness})
@public
def ready() -> Response:
    """Say whether tasks can be done: 200 when both servers take writes and every arm has a worker, else 503.

    What is wrong with a server stands in `faults`.
    An arm whose workers live and take no work, for want of a sandbox, is `withheld`: its steps fail with the reason
    that stands there, and all else can be done. `warnings` name what should be mended and holds up no task. `threads`
    says how those of the process that answers fare.
    """
    orchestrator = current.orchestrator()
    workers = dict.fromkeys(ARMS, 0)
    withheld: dict[str, str] = {}
    faults = {
        "database": _fault(lambda: _count_workers(orchestrator, workers, withheld)),
        "redis": _fault(lambda: redis_link.try_write(orchestrator.redis)),
    }
    checks: dict[str, Any] = {
        **{server: "unhealthy" if fault else "healthy" for server, fault in faults.items()},
        "faults": {server: fault for server, fault in faults.items() if fault},
        "workers": workers,
        "withheld": withheld,
        "threads": current.hub().threads(),
    }
    staffed = all(workers[arm] or arm in withheld for arm in ARMS)
    is_ready = checks["database"] == checks["redis"] == "healthy" and staffed
    response = jsonify(
        ready=is_ready,
        checks=checks,
        warnings=_warnings(orchestrator.settings),
        version=VERSION,
        timestamp=_now(),
    )
    response.status_code = 200 if is_ready else 503
    return response


@blueprint.get("/metrics")
@describes({200: {"text/plain": {"schema": {"type": "string"}}}})
@public
def metrics() -> Response:
    """Answer the metrics of all processes on this host, and what is counted in Postgres and Redis now."""
    collectors: list[Collector] = current_app.extensions[_COLLECTORS]
    return Response(metric.exposition(collectors), content_type=metric.CONTENT_TYPE)


def _count_requests(app: Flask) -> list[Collector]:
    """Count requests by endpoint, never by path; return what /metrics must add.

    Without a shared directory each app has a registry of its own: the default one takes a metric only once.
    """
    registry = CollectorRegistry()
    PrometheusMetrics(app, path=None, group_by="endpoint", registry=registry)
    return [] if metric.IS_SHARED else [registry]


def _warnings(settings: Settings) -> list[str]:
    """Return what does not keep tasks from being done, and should not stay so."""
    found = []
    if fault := permit.fault_of_keys(settings.permit_private_key, settings.permit_public_key, signs=False):
        found.append(f"{fault}; {permit.HOW_TO_MAKE_KEYS}")
    if not metric.IS_SHARED:
        found.append("/metrics has this process' figures only: see PROMETHEUS_MULTIPROC_DIR in .env.example")
    return found


def _count_workers(orchestrator: Orchestrator, workers: dict[str, int], withheld: dict[str, str]) -> None:
    """Count the workers that take work; of an arm that has none of them, say why its others don't."""
    with statement(orchestrator.engine) as conn:
        pools.try_write(conn)
        living = pools.alive(conn)
    for pool in living:
        workers[pool.arm] = workers.get(pool.arm, 0) + (pool.unavailable is None)
    withheld |= {pool.arm: pool.unavailable for pool in living if pool.unavailable and not workers[pool.arm]}


def _fault(ask: Callable[[], object]) -> str:
    """Return what is wrong with a server, in words that may be shown to anybody; nothing when `ask` goes well."""
    try:
        ask()
    except redis.RedisError as error:
        fault = redis_link.fault_of(error)
    except Exception as error:
        if not is_away(error):
            raise
        fault = fault_of(error)
    else:
        return ""
    _log.warning("ready.server_unfit", fault=fault)
    return fault


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
