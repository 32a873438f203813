"""Requests built to hurt the endpoints of approvals: each is refused cheaply and decides nothing."""

import json
import time
from typing import Any

import pytest
from flask import Flask

from orchestrator.lifecycle.decision_check import MAX_VALUE_BYTES
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller
from tests.integration.api.test_api_approval_links import link_to, state_of
from tests.integration.api.test_api_approvals import ask, decide
from tests.integration.kit import Engineer

WAYS = ("decision", "link", "opened link")
HURTFUL: list[tuple[bytes, int, str]] = [
    (b'{"comment": "' + b"x" * 2**20 + b'"}', 413, "payload_too_large"),
    (b'{"answer": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "malformed_json"),
    (b'{"a": ' * 50_000, 400, "malformed_json"),
    (b'{"decision": "approve", "decision": "reject"}', 400, "malformed_json"),
    (b'{"decision": "approve", "answer": 1e999}', 400, "malformed_json"),
    (b'{"decision": "approve", "answer": NaN}', 400, "malformed_json"),
    (b'{"decision": "approve", "answer": 123456789012345678901234567890}', 400, "malformed_json"),
    (b'{"decision": "reject", "for": "a", "comment": "\\u0000"}', 422, "validation_error"),
    (b'{"decision": "reject", "for": "a", "comment": "\\ud800"}', 422, "validation_error"),
    (b'["approve"]', 422, "validation_error"),
    (b'"approve"', 422, "validation_error"),
    (b"", 400, "malformed_json"),
    (b"\xff\xfe", 400, "malformed_json"),
    (json.dumps({f"m{number}": 1 for number in range(10_000)}).encode(), 422, "validation_error"),
]


@pytest.fixture
def asked(engineer: Engineer, call: Caller) -> dict[str, Any]:
    """A pending approval, as the API shows it."""
    return ask(engineer, call)


@pytest.fixture
def ways(app: Flask, asked: dict[str, Any], call: Caller) -> dict[str, tuple[Caller, str]]:
    """Who may call each POST endpoint, and its path."""
    path = f"/v1/approvals/{asked['approval_id']}"
    return {
        "decision": (call, f"{path}/decision"),
        "link": (call, f"{path}/link"),
        "opened link": (Caller(app, None), link_to(call, asked)),
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_body_built_to_hurt_is_refused(
    ways: dict[str, tuple[Caller, str]], call: Caller, asked: dict[str, Any], way: str
) -> None:
    caller, path = ways[way]

    for body, status, code in HURTFUL:
        answer = caller("POST", path, data=body, content_type="application/json")

        assert_problem(answer, status, code)
        assert len(answer.data) < 16_384, body[:40]
    assert state_of(call, asked) == "pending"


@pytest.mark.parametrize("way", WAYS)
def test_each_way_answers_options_and_only_its_methods(
    ways: dict[str, tuple[Caller, str]], way: str, call: Caller, asked: dict[str, Any]
) -> None:
    caller, path = ways[way]

    allowed = caller("OPTIONS", path).headers["Allow"]

    assert set(allowed.split(", ")) == {"OPTIONS", "POST"} | (
        {"GET", "HEAD"} if way == "opened link" else set()
    )
    for method in {"GET", "PUT", "PATCH", "DELETE"} - set(allowed.split(", ")):
        assert caller(method, path).status_code == 405
    assert state_of(call, asked) == "pending"


def test_head_reads_without_a_body(call: Caller, asked: dict[str, Any]) -> None:
    for path in ("/v1/approvals", f"/v1/approvals/{asked['approval_id']}"):
        answer = call("HEAD", path)
        assert (answer.status_code, answer.data) == (200, b"")


def test_an_answer_that_is_costly_to_check_takes_little_work(engineer: Engineer, call: Caller) -> None:
    """A plan's schema can double the work at each level; deciding must not keep the API busy for seconds."""
    levels = {f"l{level}": {"allOf": [{"$ref": f"#/$defs/l{level + 1}"}] * 2} for level in range(60)}
    schema = {"$defs": {**levels, "l60": {"type": "integer"}}, "$ref": "#/$defs/l0"}
    step = {"id": "q", "arm": "human", "action": "answer", "inputs": {"question": "What?", "schema": schema}}
    task_id = engineer.start(step)
    [approval] = call("GET", f"/v1/approvals?task_id={task_id}").json["approvals"]
    began = time.process_time()

    answer = decide(call, approval, "answer", answer=1)

    assert "too much work" in assert_problem(answer, 422, "validation_error")["message"]
    # about 0.4 s; without the limit 2^60 steps
    assert time.process_time() - began < 5


def test_the_longest_inputs_that_are_allowed_are_stored(call: Caller, asked: dict[str, Any]) -> None:
    room = MAX_VALUE_BYTES - len(json.dumps({"seconds": 0, "x": ""}, separators=(",", ":")))

    refused = decide(call, asked, "edit", inputs={"seconds": 0, "x": "y" * room})

    # within the limit of bytes, so the action's schema refuses it
    assert_problem(refused, 422, "validation_error")
    assert state_of(call, asked) == "pending"
