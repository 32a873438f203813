"""Serves the OpenAPI document: as JSON, and as one HTML page, on which scripts only add a way to try operations."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, make_response, render_template, request
from markdown_it import MarkdownIt
from markupsafe import Markup

from api.routes.console import HEADERS
from api.routes.guide import is_built
from api.routes.openapi import describe
from api.routes.system import VERSION
from api.schemas.operation import describes, public
from api.schemas.responses import EVENT_STREAM

_EXTENSION = "octollm_openapi"
_METHODS = ("get", "post", "put", "patch", "delete")
_JSON = "application/json"
_MARKDOWN = MarkdownIt("commonmark", {"html": False})
blueprint = Blueprint("docs", __name__, template_folder="templates")


def install(app: Flask) -> None:
    """Add the endpoints, at the root and under /v1; call it after all other endpoints were added."""
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, url_prefix="/v1", name="v1docs")
    app.extensions[_EXTENSION] = describe(app, version=VERSION)
    app.add_template_filter(type_name)
    app.add_template_filter(lambda text: Markup(_MARKDOWN.render(text)), "markdown")  # noqa: S704  # it escapes HTML
    app.add_template_filter(lambda text: Markup(_MARKDOWN.renderInline(text)), "inline")  # noqa: S704  # as above


def document_of(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of an app."""
    return cast(dict[str, Any], app.extensions[_EXTENSION])


def current_document() -> dict[str, Any]:
    """Return the OpenAPI document of the current app."""
    return document_of(current_app)


@blueprint.get("/openapi.json")
@describes({200: {"application/json": {"schema": {"type": "object"}}}, 304: None})
@public
def openapi() -> Response:
    """Return this description as OpenAPI 3.1."""
    return _cacheable(jsonify(current_document()))


@blueprint.get("/docs")
@describes({200: {"text/html": {"schema": {"type": "string"}}}, 304: None})
@public
def page() -> Response:
    """Return this description as an HTML page, which loads nothing from other hosts."""
    spec = current_document()
    operations = [
        {"path": path, "method": method, "curl": curl_of(method, path, item[method]), **item[method]}
        for path, item in spec["paths"].items()
        for method in _METHODS
        if method in item
    ]
    response = make_response(
        render_template("docs.html", spec=spec, operations=operations, has_guide=is_built())
    )
    response.headers.update(HEADERS)
    return _cacheable(response)


def curl_of(method: str, path: str, operation: Mapping[str, Any]) -> str:
    """Return a curl line that calls an operation with its first example; `$TASK` and so on are parts of the path."""
    target = re.sub(r"\{(\w+)\}", lambda found: f"${found[1].removesuffix('_id').upper()}", path)
    words = ["curl", "-sS", *([] if method == "get" else ["-X", method.upper()]), f'"$OCTOLLM_URL{target}"']
    if {"key": []} in operation["security"]:
        words += ["-H", '"X-API-Key: $OCTOLLM_API_KEY"']
    elif operation["security"]:
        words += ["-H", '"Authorization: Bearer $OCTOLLM_TOKEN"']
    if EVENT_STREAM in operation["responses"].get("200", {}).get("content", {}):
        words += ["-N", "-H", shlex.quote(f"Accept: {EVENT_STREAM}")]
    content = operation.get("requestBody", {}).get("content", {})
    examples = content.get(_JSON, {}).get("examples", {})
    if examples:
        sent = json.dumps(next(iter(examples.values()))["value"], ensure_ascii=False)
        words += ["-H", shlex.quote(f"Content-Type: {_JSON}"), "--data-binary", shlex.quote(sent)]
    elif content and _JSON not in content:
        words += ["-H", shlex.quote(f"Content-Type: {next(iter(content))}"), "--data-binary", "@FILE"]
    return " ".join(words)


def type_name(shape: dict[str, Any]) -> str:
    """Return a short description of a JSON Schema: a component's name, or its types and limits."""
    if "$ref" in shape:
        return str(shape["$ref"].rpartition("/")[2])
    for word in ("anyOf", "oneOf"):
        if word in shape:
            return " or ".join(dict.fromkeys(type_name(choice) for choice in shape[word]))
    if "enum" in shape:
        return " | ".join("null" if value is None else str(value) for value in shape["enum"])
    names = shape.get("type", "any")
    text = " or ".join(names) if isinstance(names, list) else str(names)
    if "items" in shape:
        text = re.sub("array", f"array of ({type_name(shape['items'])})", text, count=1)
    limits = [
        f"{word} {shape[name]}"
        for name, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("maxLength", "at most"),
            ("maxItems", "at most"),
        )
        if name in shape
    ]
    return ", ".join([text, *limits, *([f"/{shape['pattern']}/"] if "pattern" in shape else [])])


def _cacheable(response: Response) -> Response:
    response.headers["Cache-Control"] = "public, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
