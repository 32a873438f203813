"""Gives each request its id, logs one line for it, and sets the headers of every response."""

import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from api.middleware.context import request_id
from orchestrator.observability import log

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = ("/health", "/ready", "/metrics")
_log = structlog.get_logger(__name__)


def install(app: Flask) -> None:
    """Add the hooks; call it before any other module adds its own, so that these run outermost."""
    app.before_request(_begin)
    app.after_request(_finish)
    app.teardown_request(_unbind)


def _begin() -> None:
    g.started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
    log.bind(request_id=g.request_id)
    if request.method not in _METHODS:
        # any token is a legal method, and the exporter would create a time series for each
        request.prom_do_not_track = True  # type: ignore[attr-defined]  # prometheus_flask_exporter reads it


def _finish(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # a page of another origin can't load it as an image or a script, which CORS would not prevent
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")
    if not request.path.endswith(_QUIET):
        _log.info(
            "http.answered",
            method=request.method if request.method in _METHODS else "other",
            route=str(request.url_rule or "unknown"),
            status=response.status_code,
            duration_ms=round((time.perf_counter() - g.started) * 1000, 1),
        )
    return response


def _unbind(_error: BaseException | None) -> None:
    log.unbind()
