"""Serves the OpenAPI document: as JSON, and as one HTML page without scripts."""

import re
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, jsonify, make_response, render_template, request

from api.routes.openapi import describe
from api.routes.system import VERSION
from api.schemas.operation import describes, public

_EXTENSION = "octollm_openapi"
_METHODS = ("get", "post", "put", "patch", "delete")
blueprint = Blueprint("docs", __name__, template_folder="templates")


def install(app: Flask) -> None:
    """Add the endpoints, at the root and under /v1; call it after all other endpoints were added."""
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, url_prefix="/v1", name="v1docs")
    app.extensions[_EXTENSION] = describe(app, version=VERSION)
    app.add_template_filter(type_name)


def current_document() -> dict[str, Any]:
    """Return the OpenAPI document of the current app."""
    return cast(dict[str, Any], current_app.extensions[_EXTENSION])


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
        {"path": path, "method": method, **item[method]}
        for path, item in spec["paths"].items()
        for method in _METHODS
        if method in item
    ]
    tags = list(dict.fromkeys(operation["tags"][0] for operation in operations))
    html = render_template("docs.html", spec=spec, operations=operations, tags=tags)
    response = make_response(html)
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return _cacheable(response)


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
