"""What operators ask: does the process live, can it work, how much does it do."""

import hmac
import time
from datetime import UTC, datetime
from importlib.metadata import version

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from api.middleware import context, limit
from api.middleware.auth import shown_credential
from api.routes import readiness
from api.schemas import responses
from api.schemas.operation import describes, public
from orchestrator.bootstrap import Orchestrator
from orchestrator.models.errors import InvalidCredential
from orchestrator.observability import metric
from orchestrator.observability.gauges import StateGauges

VERSION = version("octollm-orchestrator")
_STARTED = time.monotonic()
_COLLECTORS = "octollm_collectors"

blueprint = Blueprint("system", __name__)


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Add the endpoints, at the root and under /v1, and count the app's requests."""
    readiness.install(app)
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, url_prefix="/v1", name="v1")
    app.extensions[_COLLECTORS] = [
        StateGauges(orchestrator.engine, orchestrator.redis),
        *_count_requests(app),
    ]


@blueprint.get("/health")
@describes({200: responses.Health})
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
@describes({200: responses.Readiness, 503: responses.Readiness})
@public
def ready() -> Response:
    """Say whether tasks can be done: 200 when both servers take writes and every arm has a worker, else 503.

    What is wrong with a server stands in `faults`.
    An arm whose workers live and take no work, for want of a sandbox, is `withheld`: its steps fail with the reason
    that stands there, and all else can be done. `warnings` name what should be mended and holds up no task. `threads`
    says how those of the process that answers fare. The servers are asked once a second at most. Where METRICS_TOKEN
    is set, who does not show it is told `ready` and nothing else.
    """
    found = readiness.report()
    is_told = _is_operator()
    response = jsonify(
        ready=found.is_ready,
        checks=found.checks if is_told else {},
        warnings=found.warnings if is_told else [],
        version=VERSION,
        timestamp=_written(found.found_at),
    )
    response.status_code = 200 if found.is_ready else 503
    return response


@blueprint.get("/metrics")
@describes({200: {"text/plain": {"schema": {"type": "string"}}}}, 401, 429)
@public
def metrics() -> Response:
    """Answer the metrics of all processes on this host, and what is counted in Postgres and Redis now.

    Where METRICS_TOKEN is set, it must be shown as the bearer token.
    """
    if not _is_operator():
        shown_credential()
        with limit.counting_failures():
            raise InvalidCredential("This is not METRICS_TOKEN.", details={"reason": "metrics_token"})
    collectors: list[Collector] = current_app.extensions[_COLLECTORS]
    return Response(metric.exposition(collectors), content_type=metric.CONTENT_TYPE)


def _count_requests(app: Flask) -> list[Collector]:
    """Count requests by endpoint, never by path; return what /metrics must add.

    Without a shared directory each app has a registry of its own: the default one takes a metric only once.
    """
    registry = CollectorRegistry()
    PrometheusMetrics(app, path=None, group_by="endpoint", registry=registry)
    return [] if metric.IS_SHARED else [registry]


def _is_operator() -> bool:
    """Tell whether the caller shows METRICS_TOKEN, or need not.

    A caller's address proves nothing: behind a proxy on this machine, everybody's is 127.0.0.1.
    """
    wanted = context.orchestrator().settings.metrics_token
    if wanted is None:
        return True
    shown = request.authorization
    given = (shown.token or "") if shown is not None and shown.type == "bearer" else ""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _now() -> str:
    return _written(datetime.now(UTC))


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
