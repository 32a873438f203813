"""Lets scripts of other origins' pages call the API and read its answers: those origins that the operator named."""

import re
from collections.abc import Sequence

from flask import Flask, Response, request
from flask_cors import CORS

METHODS = ("GET", "HEAD", "POST", "DELETE")
# what a script may send beside what any page may
_SENT = (
    "Accept",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-API-Key",
    "X-Request-ID",
)
# what a script may read beside what any page may
_READ = (
    "Cache-Status",
    "Content-Disposition",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-ID",
)
# browsers keep a preflight's answer for two hours at most
_KEPT_SECONDS = 7200


def install(app: Flask, origins: Sequence[str]) -> None:
    """Answer these origins' scripts as the Fetch standard says; without any, nothing changes.

    There are no credentials in its sense: a caller shows a token, and no cookie is read.
    """
    if not origins:
        return
    CORS(
        app,
        # the library would take a text with brackets, as of an IPv6 address, for a pattern
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        methods=list(METHODS),
        allow_headers=list(_SENT),
        expose_headers=list(_READ),
        max_age=_KEPT_SECONDS,
        always_send=False,
        intercept_exceptions=False,
    )
    app.before_request(_answer_preflight)


def _answer_preflight() -> Response | None:
    """Answer a preflight before anything else does: it can show no token, and counts in no rate."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return Response(status=204)
    return None
