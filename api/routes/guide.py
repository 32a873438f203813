"""Serves the documentation's site, which `make docs` builds into api/guide/, under /docs/guide/."""

import hashlib
from base64 import b64encode
from functools import lru_cache
from pathlib import Path

from flask import Blueprint, Response, make_response, redirect, send_from_directory
from werkzeug.exceptions import NotFound

from api.routes.console import HEADERS
from api.schemas.operation import public
from orchestrator.models import errors

# scripts/docs-site writes it; the image has it, a checkout has it after `make docs`
SITE = Path(__file__).parents[1] / "guide"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_NOT_BUILT = "This server has no copy of the documentation: run `make docs`, or read docs/ in the repository."

blueprint = Blueprint("guide", __name__, url_prefix="/docs/guide")


@blueprint.get("")
@public
def root() -> Response:
    """Lead to the address below which the pages' relative links work."""
    return make_response(redirect("/docs/guide/", code=308))


@blueprint.get("/")
@blueprint.get("/<path:name>")
@public
def file(name: str = "index.html") -> Response:
    """Return a file of the site; a browser at an unknown address gets the console's page, which says so."""
    path = SITE / name
    media_type = _TYPES.get(path.suffix)
    if not is_built():
        raise errors.NotFound(_NOT_BUILT)
    if media_type is None or str(path.relative_to(SITE)) != name:
        raise NotFound
    response = send_from_directory(SITE, name, mimetype=media_type, max_age=0)
    response.headers["Cache-Control"] = "no-cache"
    response.headers.update(HEADERS)
    scripts = _inline_scripts(path, path.stat().st_mtime_ns) if path.suffix == ".html" else ""
    # the search writes styles into its page; a style runs nothing
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return response


def is_built() -> bool:
    """Return whether this installation has the site."""
    return (SITE / "index.html").exists()


@lru_cache(maxsize=256)
def _inline_scripts(path: Path, changed: int) -> str:
    """Return the sources that let the scripts written in a page run, each after a space; `changed` is its mtime."""
    _, *opened = path.read_bytes().split(b"<script>")
    digests = (hashlib.sha256(part.partition(b"</script>")[0]).digest() for part in opened)
    return "".join(f" 'sha256-{b64encode(digest).decode()}'" for digest in digests)
