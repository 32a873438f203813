"""Serves the console: one page for all its addresses, and its scripts and styles under /console/."""

from pathlib import Path, PurePosixPath

from flask import Blueprint, Flask, Response, request, send_from_directory
from werkzeug.exceptions import HTTPException, NotFound

from api.middleware import problem
from api.schemas.operation import public

STATIC = Path(__file__).parents[1] / "console" / "static"
# the addresses at which the page is loaded; its script navigates between them (api/console/static/pages.js)
PAGES = (
    "/",
    "/tasks",
    "/tasks/<name>",
    "/approvals",
    "/arms",
    "/new",
    "/dead-steps",
    "/keys",
    "/audit-log",
    "/schedules",
    "/schedules/<name>",
    "/compare",
    "/sign-in",
)
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "img-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types octollm",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    # no-referrer would also take the Origin from some requests of our own page
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# not guessed by the system's table, in which .js has several names
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

blueprint = Blueprint("console", __name__)


def install(app: Flask) -> None:
    """Add the page and its files, and answer a browser's unknown address by the page."""
    for rule in PAGES:
        app.add_url_rule(rule, endpoint="console.page", view_func=page, methods=["GET"])
    app.register_blueprint(blueprint)
    app.register_error_handler(NotFound, _not_found)


@public
def page(name: str = "") -> Response:
    """Return the console's page; its script shows what the address names."""
    return _file("index.html", "text/html; charset=utf-8")


@blueprint.get("/console/<path:name>")
@public
def asset(name: str) -> Response:
    """Return one of the console's files."""
    path = PurePosixPath(name)
    media_type = _TYPES.get(path.suffix)
    # a script under a second name would import the others twice
    if media_type is None or str(path) != name:
        raise NotFound
    return _file(name, media_type)


def _not_found(error: HTTPException) -> Response | HTTPException:
    """Answer a browser's unknown address by the page, which says so, and other clients by a problem."""
    accepts = request.accept_mimetypes
    is_page = accepts["text/html"] > accepts["application/json"] and not request.path.startswith(
        ("/v1/", "/console/")
    )
    if not (is_page and request.method in {"GET", "HEAD"}):
        return problem.from_http(error)
    response = page()
    response.status_code = 404
    return response


def _file(name: str, media_type: str) -> Response:
    response = send_from_directory(STATIC, name, mimetype=media_type, max_age=0)
    response.headers["Cache-Control"] = "no-cache"
    response.headers.update(HEADERS)
    return response
