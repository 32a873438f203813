"""The OpenAPI document matches the API: routes, scopes, examples and responses."""

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from flask import Flask
from openapi_spec_validator import validate

from api.routes.console import HEADERS
from api.routes.docs import curl_of
from api.routes.openapi import describe, routes
from api.schemas.operation import operation_of, scope_of
from api.schemas.responses import EVENT_STREAM
from orchestrator.auth.credential import SCOPES
from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.cache.kit import GOAL, Company
from tests.integration.kit import Engineer, verdict, wait_step

UNVERSIONED = {"/health", "/ready", "/metrics", "/openapi.json", "/docs"}
PUBLIC = {*UNVERSIONED, "/v1/auth/token", "/v1/auth/session", "/v1/approval-links/<link>"}
Conforms = Callable[..., Any]


@pytest.fixture(scope="session")
def spec(app: Flask) -> dict[str, Any]:
    """The OpenAPI document."""
    return describe(app, version="1")


@pytest.fixture
def conforms(spec: dict[str, Any]) -> Conforms:
    """Assert that a response matches the schema of its operation and status."""

    def check(answer: Any, method: str, template: str) -> Any:
        operation = spec["paths"][template][method.lower()]
        response = operation["responses"][str(answer.status_code)]
        if media := response.get("content", {}).get(answer.mimetype):
            schema = {**media["schema"], "components": spec["components"]}
            body = answer.get_json(force=True) if "json" in answer.mimetype else answer.get_data(as_text=True)
            jsonschema.Draft202012Validator(schema).validate(body)
        return answer

    return check


def test_the_document_is_valid_openapi(spec: dict[str, Any]) -> None:
    validate(spec)

    assert spec["openapi"].startswith("3.1")


def test_the_document_has_exactly_the_app_s_routes(app: Flask, spec: dict[str, Any]) -> None:
    routed = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith(("console.", "guide."))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, item in spec["paths"].items() for method in item}

    aliases = {(f"/v1{path}", "get") for path in UNVERSIONED}
    assert routed - described == aliases
    assert described <= routed


def test_every_view_declares_its_scope_or_that_it_is_public(app: Flask) -> None:
    for rule, _, view in routes(app):
        assert (scope_of(view) is None) == (rule.rule in PUBLIC), rule.rule
        assert scope_of(view) in {None, *SCOPES}
        assert operation_of(view).responses
        assert view.__doc__


def test_a_declared_scope_is_required(app: Flask, as_caller: AsCaller) -> None:
    for rule, method, view in routes(app):
        if scope := scope_of(view):
            others = tuple(name for name in SCOPES if name not in {scope, "admin"})
            path = _fill(rule.rule, "task_0000000000000000")

            assert as_caller("acme", others)(method, path).status_code == 403, rule.rule


def test_every_example_is_accepted(
    call: Caller, engineer: Engineer, spec: dict[str, Any], conforms: Conforms
) -> None:
    sent = 0
    for template, item in spec["paths"].items():
        if template == "/v1/auth/session":
            # no credential in an example is valid; test_api_session.py sends real ones
            continue
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in content.get("examples", {}).items():
                path = _fill(template, _task_for(engineer, template), approval=_asked(engineer))
                if template.startswith("/v1/approval-links"):
                    path = _linked(call, engineer)
                if template.endswith("/feedback"):
                    path = _fill(template, _hit(call, engineer))
                if template.startswith("/v1/keys/"):
                    key = call("POST", "/v1/keys", json={"scopes": ["task:read"]}).json
                    path = path.replace("0" * 12, key["key_id"])
                if template.startswith("/v1/schedules/"):
                    path = path.replace("sched_0000000000000000", _scheduled(call))
                answer = conforms(call(method.upper(), path, json=example["value"]), method, template)
                assert answer.status_code < 300, (template, name, answer.json)
                sent += 1

    assert sent >= 6


def _scheduled(call: Caller) -> str:
    """Return a schedule whose name no other has."""
    count = len(call("GET", "/v1/schedules").json["schedules"])
    body = {"name": f"s{count}", "contract": {"goal": "g"}, "cron": "0 * * * *", "tz": "UTC"}
    return str(call("POST", "/v1/schedules", json=body).json["schedule_id"])


def _hit(call: Caller, engineer: Engineer) -> str:
    """Return a task that was completed by an earlier result."""
    company = Company(engineer.engine, engineer.settings)
    company.run(call("POST", "/v1/tasks", json={"goal": GOAL}).json["task_id"])
    return str(call("POST", "/v1/tasks", json={"goal": GOAL}).json["task_id"])


def _asked(engineer: Engineer) -> str:
    """Return a pending approval of the step that the examples are about."""
    task_id = engineer.start(wait_step("a", approval={"ask": "Wait?"}))
    return str(engineer.ask("SELECT id FROM approvals WHERE task_id = %(id)s", id=task_id)[0]["id"])


def _linked(call: Caller, engineer: Engineer) -> str:
    """Return the URL of a link to a pending approval."""
    return str(call("POST", f"/v1/approvals/{_asked(engineer)}/link", json={"for": "Zoë"}).json["url"])


def _task_for(engineer: Engineer, template: str) -> str:
    task_id = engineer.start(wait_step("a"))
    if template.endswith("/retry"):
        engineer.do(task_id, "a")
        engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id


def test_every_json_body_has_an_example(spec: dict[str, Any]) -> None:
    for template, item in spec["paths"].items():
        for operation in item.values():
            content = operation.get("requestBody", {}).get("content", {})
            assert "application/json" not in content or content["application/json"]["examples"], template


def test_every_response_matches_its_schema(
    call: Caller, as_caller: AsCaller, engineer: Engineer, spec: dict[str, Any], conforms: Conforms
) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    file_id = call("POST", "/v1/files", data=b"x", content_type="text/plain").json["artifact_id"]
    approval, link = _asked(engineer), _linked(call, engineer).rpartition("/")[2]
    answered = set()

    for template, item in spec["paths"].items():
        for method in item:
            for target, asked, shown in (
                (task_id, approval, link),
                ("task_0000000000000000", "appr_0000000000000000", "a.b"),
            ):
                path = _fill(template, target, approval=asked, link=shown).replace("0" * 64, file_id)
                answer = conforms(call(method.upper(), path), method, template)
                answered.add((template, method, answer.status_code))
            conforms(as_caller("acme", ())(method.upper(), path), method, template)

    succeeded = {(template, method) for template, method, status in answered if status < 300}
    assert {
        ("/v1/arms", "get"),
        ("/v1/tasks", "get"),
        ("/v1/tasks/{task_id}", "get"),
        ("/v1/tasks/{task_id}/events", "get"),
        ("/v1/tasks/{task_id}/trace", "get"),
        ("/v1/tasks/{task_id}/stream-ticket", "post"),
        ("/v1/files/{artifact_id}", "get"),
        ("/v1/approvals", "get"),
        ("/v1/approvals/{approval_id}", "get"),
        ("/v1/approval-links/{link}", "get"),
        ("/health", "get"),
        ("/metrics", "get"),
        ("/docs", "get"),
        ("/openapi.json", "get"),
    } <= succeeded


@pytest.mark.parametrize(
    ("template", "asking"),
    [
        ("/v1/tasks/{task_id}/events", {"headers": {"Accept": EVENT_STREAM}}),
        ("/v1/responses/{task_id}", {"query_string": {"stream": "true"}}),
    ],
)
def test_each_event_of_a_stream_matches_its_schema(
    call: Caller, engineer: Engineer, spec: dict[str, Any], template: str, asking: dict[str, Any]
) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    shape = spec["paths"][template]["get"]["responses"]["200"]["content"][EVENT_STREAM]["schema"]

    answer = call("GET", _fill(template, task_id), **asking)

    assert answer.mimetype == EVENT_STREAM
    sent = [
        dict(line.split(": ", 1) for line in block.splitlines())
        for block in answer.get_data(as_text=True).split("\n\n")
        if "data: " in block
    ]
    assert len(sent) >= 5
    for event in sent:
        _check(shape, event, spec)
        _check(shape["properties"]["data"]["contentSchema"], json.loads(event["data"]), spec)


def _check(shape: dict[str, Any], value: Any, spec: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator({**shape, "components": spec["components"]}).validate(value)


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_document_is_served_and_cacheable(app: Flask, spec: dict[str, Any], prefix: str) -> None:
    anonymous = Caller(app, None)

    served = anonymous("GET", f"{prefix}/openapi.json")
    again = anonymous("GET", f"{prefix}/openapi.json", headers={"If-None-Match": served.headers["ETag"]})

    assert served.json["paths"] == json.loads(json.dumps(spec["paths"]))
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_page_shows_every_operation_and_loads_nothing_else(
    app: Flask, spec: dict[str, Any], prefix: str
) -> None:
    answer = Caller(app, None)("GET", f"{prefix}/docs")
    html = answer.get_data(as_text=True)

    assert answer.mimetype == "text/html"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    assert re.findall(r"<script[^>]*>([^<]*)</script>", html) == [""]
    assert "<style" not in html
    assert " style=" not in html
    loaded = re.findall(r"""(?:src=|<link[^>]* href=)["']([^"']*)""", html)
    assert loaded
    assert all(path.startswith("/console/") for path in loaded)
    for path in loaded:
        assert Caller(app, None)("GET", path).status_code == 200, path
    for template, item in spec["paths"].items():
        assert f"<code>{template}</code>" in html
        assert all(operation["operationId"] in html for operation in item.values())
    for name in spec["components"]["schemas"]:
        assert f'id="schema-{name}"' in html


def _fill(template: str, task_id: str, *, approval: str = "appr_0000000000000000", link: str = "a.b") -> str:
    filled = re.sub(r"[<{]task_id[>}]", task_id, template)
    filled = re.sub(r"[<{]approval_id[>}]", approval, filled)
    filled = re.sub(r"[<{]link[>}]", link, filled)
    filled = re.sub(r"[<{]arm_id[>}]", "weather", filled)
    filled = re.sub(r"[<{]schedule_id[>}]", "sched_0000000000000000", filled)
    filled = re.sub(r"[<{]key_id[>}]", "0" * 12, filled)
    return re.sub(r"[<{](?:\w+:)?artifact_id[>}]", "0" * 64, filled)


def test_the_document_begins_with_tasks_and_every_tag_is_described(spec: dict[str, Any]) -> None:
    used = [operation["tags"] for item in spec["paths"].values() for operation in item.values()]

    assert [tag["name"] for tag in spec["tags"]] == list(dict.fromkeys(tag for [tag] in used))
    assert used[0] == ["tasks"]
    assert all(tag["description"] for tag in spec["tags"])


def test_a_curl_line_is_read_by_a_shell_as_the_call_that_it_shows(spec: dict[str, Any]) -> None:
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            words = shlex.split(curl_of(method, path, operation))
            assert words[0] == "curl"
            assert re.sub(r"\{(\w+?)(_id)?\}", lambda part: f"${part[1].upper()}", path) in words[
                -1
            ] + " ".join(words)
            if "--data-binary" in words and not words[-1].startswith("@"):
                examples = operation["requestBody"]["content"]["application/json"]["examples"].values()
                assert json.loads(words[-1]) == next(iter(examples))["value"]
            has_token = any("Authorization" in word for word in words)
            assert has_token == (operation["security"] not in ([], [{"key": []}])), path
