"""Any malformed request gets a problem that names the fault, never a 500 and never the sent values."""

import json
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from api.routes.task_contract import TaskRequestSchema
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller

JSON = "application/json"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
STEPS = st.lists(
    st.dictionaries(
        st.sampled_from(["id", "arm", "action", "inputs", "depends_on", "acceptance_criteria", "optional"]),
        VALUES | st.sampled_from(["a", "coder", "executor", "wait", ["a"], {"seconds": 0}, {"$from": "a"}]),
    ),
    max_size=4,
)


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"\xff\xfe{\x00}\x00", 400, "malformed_json"),
        (b'{"goal": NaN}', 400, "malformed_json"),
        (b'{"goal": "x", "metadata": {"a": 1e999}}', 400, "malformed_json"),
        (b'{"goal": "x", "goal": "y"}', 400, "malformed_json"),
        (b'{"goal": "x", "metadata": {"a": ' + b"9" * 5000 + b"}}", 400, "malformed_json"),
        (b"[" * 30_000 + b"]" * 30_000, 400, "malformed_json"),
        (b'{"goal":' * 30_000 + b"1" + b"}" * 30_000, 400, "malformed_json"),
        (b'{"goal": "a\\u0000b"}', 422, "validation_error"),
        (b'{"goal": "x", "context": {"a": "\\ud800"}}', 422, "validation_error"),
        (b'{"goal": "x", "context": {"\\u0000": 1}}', 422, "validation_error"),
        (b"[]", 422, "validation_error"),
        (b'"goal"', 422, "validation_error"),
        (b"null", 422, "validation_error"),
        (b"{}", 422, "validation_error"),
        (b'{"goal": "x", "unknown": 1}', 422, "validation_error"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_malformed_body_is_a_problem(call: Caller, raw: bytes, status: int, code: str) -> None:
    assert_problem(call("POST", "/v1/tasks", data=raw, content_type=JSON), status, code)


@pytest.mark.parametrize("member", ["inputs", "model", "prompt", "criteria"])
@pytest.mark.parametrize("value", [1, True, 1.5, [1], [[]], {"a": [1]}], ids=repr)
def test_a_fork_of_odd_members_is_a_problem(call: Caller, member: str, value: Any) -> None:
    path = "/v1/tasks/task_0000000000000000/retry"

    assert_problem(call("POST", path, json={"set": {member: value}}), 422, "validation_error")


def test_a_member_that_is_null_counts_as_absent_whatever_its_name_in_python(call: Caller) -> None:
    path = "/v1/tasks/task_0000000000000000/retry"

    assert_problem(call("POST", path, json={"set": None, "from": None}), 404, "resource_not_found")


@pytest.mark.slow
@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(sorted({*TaskRequestSchema().fields} - {"goal", "plan"})),
        VALUES | st.dictionaries(st.sampled_from(["text", "check", "max_tokens", "type", "$ref"]), VALUES),
    ),
    st.none() | STEPS | VALUES,
)
def test_no_contract_causes_a_500(call: Caller, members: dict[str, Any], plan: Any) -> None:
    answer = call("POST", "/v1/tasks", json={"goal": "x", **members, "plan": plan})

    assert answer.status_code in {202, 400, 422}, answer.get_data(as_text=True)
    if answer.status_code == 202:
        assert call("GET", answer.headers["Location"]).status_code == 200


@pytest.mark.slow
@examples(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES | st.binary())
def test_no_body_causes_a_500(call: Caller, value: Any) -> None:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()

    answer = call("POST", "/v1/tasks", data=raw, content_type=JSON)

    assert answer.status_code in {400, 422}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/jsonx"},
        {"Content-Type": JSON, "Content-Encoding": "gzip"},
    ],
    ids=str,
)
def test_a_body_must_be_json_in_utf8(call: Caller, headers: dict[str, str]) -> None:
    answer = call("POST", "/v1/tasks", data=b'{"goal": "x"}', headers=headers)

    assert_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=UTF-8", "Application/JSON"])
def test_json_has_several_accepted_content_types(call: Caller, content_type: str) -> None:
    assert call("POST", "/v1/tasks", data=b'{"goal": "x"}', content_type=content_type).status_code == 202


def test_a_body_may_be_as_large_as_the_setting_and_no_larger(call: Caller, settings: Settings) -> None:
    filler = b" " * (settings.max_body_bytes - len(b'{"goal": "x"}'))

    fits = call("POST", "/v1/tasks", data=b'{"goal": "x"}' + filler, content_type=JSON)
    spills = call("POST", "/v1/tasks", data=b'{"goal": "x"}' + filler + b" ", content_type=JSON)

    assert fits.status_code == 202
    assert_problem(spills, 413, "payload_too_large")


def test_a_body_without_a_length_is_limited_too(call: Caller, settings: Settings) -> None:
    stream = BytesIO(b" " * (settings.max_body_bytes + 1))

    answer = call(
        "POST",
        "/v1/tasks",
        input_stream=stream,
        content_type=JSON,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert_problem(answer, 413, "payload_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "endpoint_not_found"),
        ("GET", "/v1", 404, "endpoint_not_found"),
        ("GET", "/v1/nothing", 404, "endpoint_not_found"),
        ("GET", "/v2/tasks", 404, "endpoint_not_found"),
        ("GET", "/v1/tasks/", 404, "resource_not_found"),
        ("GET", "/v1//tasks", 404, "endpoint_not_found"),
        ("PUT", "/v1/tasks", 405, "method_not_allowed"),
        ("PATCH", "/v1/tasks/task_0000000000000000", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("BREW", "/v1/tasks", 405, "method_not_allowed"),
    ],
)
def test_an_unknown_route_or_method_is_a_problem(
    call: Caller, method: str, path: str, status: int, code: str
) -> None:
    answer = call(method, path)

    assert answer.status_code == status
    assert answer.json["code"] in {code, "endpoint_not_found"}
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_given_request_id_is_returned(call: Caller) -> None:
    answer = call("GET", "/v1/arms", headers={"X-Request-ID": "my-id_1.2:3"})

    assert answer.headers["X-Request-ID"] == "my-id_1.2:3"


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "ä", '"<script>'])
def test_a_request_without_a_valid_id_gets_one(call: Caller, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-ID": given}

    made = [call("GET", "/v1/nothing", headers=headers).headers["X-Request-ID"] for _ in range(2)]

    assert made[0] != made[1]
    for request_id in made:
        assert request_id.startswith("req_")
        int(request_id.removeprefix("req_"), 16)
        assert len(request_id) == 20


@pytest.mark.parametrize(
    "members",
    [
        {"goal": "x", "priority": "4111 1111 1111 1111"},
        {"goal": "x", "budget": {"max_tokens": "4111 1111 1111 1111"}},
        {"goal": "x", "deadline": "4111 1111 1111 1111"},
        {"goal": "x", "attachments": ["4111 1111 1111 1111"]},
        {"goal": "x", "output_schema": {"type": "4111 1111 1111 1111"}},
        {"goal": ["4111 1111 1111 1111"]},
    ],
    ids=str,
)
def test_an_error_does_not_repeat_the_sent_values(call: Caller, members: dict[str, Any]) -> None:
    answer = call("POST", "/v1/tasks", json=members)

    assert_problem(answer, 422, "validation_error")
    assert "4111" not in answer.get_data(as_text=True)
