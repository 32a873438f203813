"""The endpoints for operators: /health, /ready and /metrics."""

import hmac
import time
from datetime import UTC, datetime
from importlib.metadata import version

from flask import Blueprint, Flask, Response, current_app, jsonify, request
from marshmallow import fields
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from prometheus_flask_exporter import PrometheusMetrics

from api.middleware import context, rate_limit
from api.middleware.auth import presented_credential
from api.routes import readiness
from api.schemas.operation import describes, public
from api.schemas.responses import ResponseSchema, one_of
from orchestrator.models.errors import InvalidCredential
from orchestrator.observability import metric
from orchestrator.observability.gauges import StateGauges
from orchestrator.orchestrator import Orchestrator

VERSION = version("octollm-orchestrator")
_STARTED = time.monotonic()
_COLLECTORS = "octollm_collectors"

blueprint = Blueprint("system", __name__)


class HealthSchema(ResponseSchema):
    """The process responds."""

    status = one_of("healthy", "degraded", "unhealthy")
    version = fields.String()
    uptime_seconds = fields.Integer()
    components = fields.Dict(keys=fields.String(), values=fields.String())
    timestamp = fields.String()


class ReadinessSchema(ResponseSchema):
    """Whether tasks can run, and what prevents it."""

    ready = fields.Boolean()
    checks = fields.Dict()
    warnings = fields.List(fields.String())
    version = fields.String()
    timestamp = fields.String()


def install(app: Flask, orchestrator: Orchestrator) -> None:
    """Add the endpoints, at the root and under /v1, and the metrics of the app's requests."""
    readiness.install(app)
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, url_prefix="/v1", name="v1")
    app.extensions[_COLLECTORS] = [
        StateGauges(
            orchestrator.engine, orchestrator.redis, retention_days=orchestrator.settings.retention_days
        ),
        *_count_requests(app),
    ]


@blueprint.get("/health")
@describes({200: HealthSchema})
@public
def health() -> Response:
    """Return 200 if the process responds; checks no other server."""
    return jsonify(
        status="healthy",
        version=VERSION,
        uptime_seconds=int(time.monotonic() - _STARTED),
        components={"api": "healthy"},
        timestamp=_now(),
    )


@blueprint.get("/ready")
@describes({200: ReadinessSchema, 503: ReadinessSchema})
@public
def ready() -> Response:
    """Return whether tasks can run: 200 if Postgres and Redis accept writes and every arm has a worker, else 503.

    `faults` names the fault of each server. An arm is `withheld` if its workers are alive but refuse work for lack of
    a sandbox: its steps fail with the reason given there, and all other steps run. `warnings` lists problems that stop
    no task but should be fixed. `threads` is the state of this process's threads. The servers are queried at most once
    a second. If METRICS_TOKEN is set, callers without it get `ready` and nothing else.
    """
    report = readiness.report()
    is_operator = _is_operator()
    response = jsonify(
        ready=report.is_ready,
        checks=report.checks if is_operator else {},
        warnings=report.warnings if is_operator else [],
        version=VERSION,
        timestamp=_timestamp(report.checked_at),
    )
    response.status_code = 200 if report.is_ready else 503
    return response


@blueprint.get("/metrics")
@describes({200: {"text/plain": {"schema": {"type": "string"}}}}, 401, 429)
@public
def metrics() -> Response:
    """Return the metrics of all processes on this host, and current counts from Postgres and Redis.

    If METRICS_TOKEN is set, send it as the bearer token.
    """
    if not _is_operator():
        presented_credential()
        with rate_limit.counting_failures():
            raise InvalidCredential("The token is not METRICS_TOKEN.", details={"reason": "metrics_token"})
    collectors: list[Collector] = current_app.extensions[_COLLECTORS]
    return Response(metric.exposition(collectors), content_type=metric.CONTENT_TYPE)


def _count_requests(app: Flask) -> list[Collector]:
    """Count requests by endpoint, never by path; return the collectors that /metrics must add.

    Without a shared directory each app has its own registry, as the default registry accepts each metric only once.
    """
    registry = CollectorRegistry()
    PrometheusMetrics(app, path=None, group_by="endpoint", registry=registry)
    return [registry] if metric.SHARING.directory is None else []


def _is_operator() -> bool:
    """Return whether the caller sent METRICS_TOKEN, or none is set.

    A caller's address proves nothing: behind a proxy on this machine, every caller has 127.0.0.1.
    """
    expected = context.orchestrator().settings.metrics_token
    if expected is None:
        return True
    sent = request.authorization
    given = (sent.token or "") if sent is not None and sent.type == "bearer" else ""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _now() -> str:
    return _timestamp(datetime.now(UTC))


def _timestamp(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
