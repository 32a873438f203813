"""Generates the OpenAPI 3.1 document from the views' Operations and the schemas that they name."""

import re
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_instance
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask
from marshmallow import fields as marshmallow_fields
from werkzeug.routing import Rule

from api.middleware.idempotency import HEADER
from api.middleware.problem import MEDIA_TYPE, catalogue
from api.schemas.operation import Content, Operation, operation_of, scope_of
from api.schemas.responses import ProblemSchema, ResponseSchema
from orchestrator.registry.manifest_keys import ARM_ID

VERSION = "3.1.0"
_JSON = "application/json"
_TASK_ID = {"type": "string", "pattern": "^task_[a-zA-Z0-9]{16}$"}
_PATH_SCHEMAS = {
    "task_id": _TASK_ID,
    "artifact_id": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "arm_id": {"type": "string", "pattern": f"^{ARM_ID.pattern}$"},
    "approval_id": {"type": "string", "pattern": "^appr_[a-zA-Z0-9]{16}$"},
    # a step, an item of one (fix[3]), $plan or $judge
    "step_id": {"type": "string", "minLength": 1},
    "key_id": {"type": "string", "pattern": "^[0-9A-Za-z]{12}$"},
    "schedule_id": {"type": "string", "pattern": "^sched_[a-zA-Z0-9]{16}$"},
    "link": {"type": "string", "pattern": "^[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+$"},
}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The JWT, as OctoLLM's clients send it.",
    },
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "octo_<env>_<id>_<secret>"},
}
INTRODUCTION = (Path(__file__).parent / "templates" / "introduction.md").read_text("utf-8")
"""What a reader should know first, as Markdown."""
# the tags in the order of the document, which begins with what most readers look for
_TAGS = {
    "tasks": "Submit a goal, follow its task, and act on it.",
    "plans": "See what a submission would do, without a task.",
    "recipes": "Plans that need no model.",
    "schedules": "Contracts that are submitted again and again.",
    "files": "Files that tasks read, and files of their results.",
    "approvals": "What waits for a person, and decisions.",
    "arms": "What does the steps: their state, and registration of your own.",
    "responses": "Tasks in the shape of OpenAI's Responses API, for its SDKs.",
    "mcp": "The tools of this server for hosts of the Model Context Protocol.",
    "dead-steps": "Steps that were given up because they killed their workers.",
    "auth": "Tokens, and the console's session.",
    "keys": "API keys.",
    "audit-log": "Who did what, and whether it was allowed.",
    "operators": "Health, readiness, metrics, and this description.",
}
_TAG_OF = {"approval-links": "approvals", "capabilities": "arms", "models": "responses"}


class _Converter(OpenAPIConverter):
    """Adds our fields' shapes, marks all members of responses as required, and takes descriptions from docstrings."""

    def init_attribute_functions(self, *args: Any, **kwargs: Any) -> None:
        super().init_attribute_functions(*args, **kwargs)  # type: ignore[no-untyped-call]  # theirs
        self.attribute_functions.insert(0, _own_shape)

    def schema2jsonschema(self, schema: Any) -> Any:
        shape = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]  # theirs
        instance = resolve_schema_instance(schema)
        shape["description"] = (instance.__doc__ or "").strip().partition("\n")[0]
        if isinstance(instance, ResponseSchema):
            shape["required"] = list(shape["properties"])
        return shape


class _Plugin(MarshmallowPlugin):
    Converter = _Converter


def _own_shape(field: marshmallow_fields.Field[Any], **_: Any) -> dict[str, Any]:
    """Return the JSON Schema that a field of ours declares, with null as a further choice if the field allows it."""
    shape: dict[str, Any] = dict(getattr(field, "shape", {}))
    if field.allow_none and "anyOf" in shape:
        shape["anyOf"] = [*shape["anyOf"], {"type": "null"}]
    return shape


def routes(app: Flask) -> Iterator[tuple[Rule, str, Callable[..., Any]]]:
    """Yield (rule, method, view) of every endpoint, without the console's files and the aliases under /v1."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.websocket or rule.endpoint.startswith(("v1", "console.", "guide.")):
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, app.view_functions[rule.endpoint]


def describe(app: Flask, *, version: str) -> dict[str, Any]:
    """Return the document; `version` is the API's version."""
    plugin = _Plugin(schema_name_resolver=_component_name)
    spec = APISpec(
        "OctoLLM Orchestrator",
        version,
        openapi_version=VERSION,
        plugins=[plugin],
        info={"description": INTRODUCTION},
    )
    for name, scheme in _SECURITY.items():
        spec.components.security_scheme(name, scheme)
    named = list(_TAGS)
    found = sorted(routes(app), key=lambda route: named.index(_tag(route[0])))
    for name, text in _TAGS.items():
        if any(_tag(rule) == name for rule, _, _ in found):
            spec.tag({"name": name, "description": text})
    for rule, method, view in found:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        spec.path(path, operations={method.lower(): _operation(rule, method, view)})
    return {**spec.to_dict(), "x-problems": catalogue()}


def _component_name(schema: Any) -> str:
    return resolve_schema_instance(schema).__class__.__name__.removesuffix("Schema")


def _operation(rule: Rule, method: str, view: Callable[..., Any]) -> dict[str, Any]:
    declared, scope = operation_of(view), scope_of(view)
    # the blueprint's and the view's names, which clients are generated from
    group, _, name = rule.endpoint.partition(".")
    text = (view.__doc__ or "").strip().partition("\n")
    operation: dict[str, Any] = {
        "operationId": f"{group}_{name}" + _alias(rule),
        "tags": [_tag(rule)],
        "summary": text[0],
        "description": re.sub(r"\s+", " ", text[2]).strip(),
        "x-scope": scope,
        "x-idempotent": method != "POST" or declared.is_idempotent or HEADER in declared.headers,
        "security": [{"bearer": []}, {"token": []}] if scope else [],
        "parameters": _parameters(rule, declared),
        "responses": _responses(rule, declared, scope),
    }
    if declared.body is not None:
        operation["requestBody"] = _body(declared)
    if declared.takes_api_key:
        operation["security"] = [{"key": []}]
    return operation


def _tag(rule: Rule) -> str:
    """Return the tag of a path: its first part under /v1, or that of operators."""
    _, version, *parts = rule.rule.split("/")
    name = _TAG_OF.get(parts[0], parts[0]) if version == "v1" and parts else version
    return name if name in _TAGS else "operators"


def _alias(rule: Rule) -> str:
    return "_capabilities" if rule.rule.endswith("/capabilities") else ""


def _parameters(rule: Rule, declared: Operation) -> list[Any]:
    path = [
        {"in": "path", "name": name, "required": True, "schema": _PATH_SCHEMAS[name]}
        for name in sorted(rule.arguments)
    ]
    headers = [
        {"in": "header", "name": name, "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in declared.headers.items()
    ]
    query = [{"in": "query", "schema": declared.query}] if declared.query else []
    return [*path, *query, *headers]


def _responses(rule: Rule, declared: Operation, scope: str | None) -> dict[str, Any]:
    responses = {str(status): _response(status, shape) for status, shape in declared.responses.items()}
    implied: set[int] = set(declared.errors)
    if scope:
        implied |= {401, 403, 429, 503}
    if rule.arguments:
        implied |= {404}
    if declared.query:
        implied |= {422}
    if isinstance(declared.body, type):
        implied |= {400, 413, 415, 422}
    for status in sorted(implied):
        responses.setdefault(str(status), _response(status, {MEDIA_TYPE: {"schema": ProblemSchema}}))
    return responses


def _response(status: int, shape: Content) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content := _content(shape):
        response["content"] = content
    return response


def _body(declared: Operation) -> dict[str, Any]:
    content = _content(declared.body)
    if declared.examples:
        content[_JSON]["examples"] = {name: {"value": value} for name, value in declared.examples.items()}
    return {"required": declared.is_body_required, "content": content}


def _content(shape: Content) -> dict[str, Any]:
    if shape is None:
        return {}
    if isinstance(shape, Mapping):
        return {media: dict(content) for media, content in shape.items()}
    return {_JSON: {"schema": shape}}
