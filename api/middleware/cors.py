"""Lets pages of the origins in CORS_ORIGINS call the API from a browser, and keeps other pages out of /mcp."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask_cors import CORS

from api.middleware import context
from orchestrator.models.errors import Forbidden

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
# request headers that a script may send besides the safelisted ones
_REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "X-API-Key",
    "X-Request-ID",
)
# response headers that a script may read besides the safelisted ones
_RESPONSE_HEADERS = (
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
# browsers cache a preflight response for two hours at most
_PREFLIGHT_CACHE_SECONDS = 7200
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def install(app: Flask, origins: Sequence[str]) -> None:
    """Add the CORS headers of the Fetch standard for these origins; do nothing if there are none.

    Requests have no credentials in its sense: callers send a token. The console's cookie counts for no other origin.
    """
    if not origins:
        return
    CORS(
        app,
        # the library treats a string with brackets, such as an IPv6 address, as a pattern
        origins=[re.compile(re.escape(origin) + r"\Z") for origin in origins],
        methods=list(METHODS),
        allow_headers=list(_REQUEST_HEADERS),
        expose_headers=list(_RESPONSE_HEADERS),
        max_age=_PREFLIGHT_CACHE_SECONDS,
        always_send=False,
        intercept_exceptions=False,
    )
    app.before_request(_answer_preflight)


def require_allowed_origin() -> None:
    """Raise Forbidden for a page of another origin, which a browser names in the header Origin.

    Allowed are CORS_ORIGINS, the origin of PUBLIC_URL, and this host under a loopback name. Any other name of this host
    may be one that a hostile page's domain was pointed at (DNS rebinding).
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    settings = context.orchestrator().settings
    url = urlsplit((settings.public_url or "").lower())
    allowed = {*settings.cors_origins, *([f"{url.scheme}://{url.netloc}"] if url.netloc else [])}
    host = request.host.lower()
    if _hostname(host) in _LOOPBACK:
        allowed |= {f"http://{host}", f"https://{host}"}
    if origin.lower() not in allowed:
        raise Forbidden(
            "Pages of this origin may not call this endpoint; CORS_ORIGINS lists those that may.",
            details={"reason": "origin"},
        )


def _answer_preflight() -> Response | None:
    """Answer a preflight first: it carries no token and does not count towards a rate limit."""
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return Response(status=204)
    return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
