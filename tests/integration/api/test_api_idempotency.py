"""Idempotency: a submission that the client repeats, because it saw no response, creates one task."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import statement
from orchestrator.memory import submissions
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.kit import TENANT
from tests.waiting import wait_until

COPIES = 16
GOAL = {"goal": "do it", "metadata": {"a": 1, "b": 2}}


def count_of_tasks(call: Caller) -> int:
    return len(call("GET", "/v1/tasks?limit=100").json["tasks"])


def expire_keys(engine: Engine) -> None:
    with statement(engine) as conn:
        conn.exec_driver_sql("UPDATE submissions SET expires_at = now()")


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Request-ID"])
def test_a_repeated_submission_is_the_same_task(call: Caller, header: str) -> None:
    first = call("POST", "/v1/tasks", json=GOAL, headers={header: "abc-1"})
    again = call(
        "POST",
        "/v1/tasks",
        data='{"metadata": {"b": 2, "a": 1},\n "goal": "do it"}',
        content_type="application/json",
        headers={header: "abc-1"},
    )

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert count_of_tasks(call) == 1


def test_a_key_with_a_different_body_is_a_conflict(call: Caller) -> None:
    call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": "k"})

    other = call("POST", "/v1/tasks", json={"goal": "another"}, headers={"Idempotency-Key": "k"})

    assert_problem(other, 409, "idempotency_conflict")
    assert count_of_tasks(call) == 1


def test_a_request_id_with_a_different_body_is_another_task(call: Caller) -> None:
    answers = [
        call("POST", "/v1/tasks", json={"goal": goal}, headers={"X-Request-ID": "r-1"})
        for goal in ("one", "two", "one")
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 200]
    assert answers[0].json["task_id"] == answers[2].json["task_id"] != answers[1].json["task_id"]


def test_without_a_key_each_submission_is_a_new_task(call: Caller) -> None:
    answers = [call("POST", "/v1/tasks", json=GOAL) for _ in range(2)]
    odd = [call("POST", "/v1/tasks", json=GOAL, headers={"X-Request-ID": "not an id!"}) for _ in range(2)]

    assert [answer.status_code for answer in answers + odd] == [202] * 4
    assert count_of_tasks(call) == 4


def test_keys_are_separate_for_each_tenant(as_caller: AsCaller) -> None:
    answers = [
        as_caller(tenant)("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": "k"})
        for tenant in ("acme", "umbrella")
    ]

    assert [answer.status_code for answer in answers] == [202, 202]


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ключ", "a\tb"])
def test_a_malformed_key_is_refused(call: Caller, key: str) -> None:
    answer = call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": key.encode().decode("latin-1")})

    problem = assert_problem(answer, 422, "validation_error")
    assert problem["details"]["errors"][0]["field"] == "Idempotency-Key"


def test_a_refused_submission_may_be_corrected_with_the_same_key(call: Caller) -> None:
    refused = call("POST", "/v1/tasks", json={"goal": ""}, headers={"Idempotency-Key": "k"})
    corrected = call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": "k"})

    assert (refused.status_code, corrected.status_code) == (422, 202)


def test_sixteen_concurrent_submissions_are_one_task(app: Flask, engine: Engine, settings: Settings) -> None:
    token = sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES)
    start = Barrier(COPIES)

    def send(_: int) -> tuple[int, str]:
        call = Caller(app, token)
        start.wait()
        answer = call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": "k"})
        return answer.status_code, answer.json["task_id"]

    with ThreadPoolExecutor(COPIES) as pool:
        answers = list(pool.map(send, range(COPIES)))

    assert sorted(status for status, _ in answers) == [200] * (COPIES - 1) + [202]
    assert len({task_id for _, task_id in answers}) == 1
    with statement(engine) as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM tasks").scalar_one() == 1
        assert conn.exec_driver_sql("SELECT count(*) FROM steps").scalar_one() == 1


def test_an_expired_key_can_be_used_again(call: Caller, engine: Engine) -> None:
    first = call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": "k"})
    expire_keys(engine)

    later = call("POST", "/v1/tasks", json={"goal": "another"}, headers={"Idempotency-Key": "k"})
    again = call("POST", "/v1/tasks", json={"goal": "another"}, headers={"Idempotency-Key": "k"})

    assert (later.status_code, again.status_code) == (202, 200)
    assert first.json["task_id"] != later.json["task_id"] == again.json["task_id"]


def test_expired_keys_are_deleted(call: Caller, engine: Engine) -> None:
    for key in ("a", "b"):
        call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": key})
    expire_keys(engine)
    call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": "c"})

    with statement(engine) as conn:
        assert submissions.forget_expired(conn, limit=10) == 2
        assert submissions.find(conn, TENANT, "key:c") is not None


def test_a_repeat_is_answered_at_the_limit_of_open_tasks(settings: Settings) -> None:
    call = Caller(
        create_app(replace(settings, max_open_tasks=1)),
        sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES),
    )

    answers = [
        call("POST", "/v1/tasks", json=GOAL, headers={"Idempotency-Key": key}) for key in ("a", "b", "a")
    ]

    assert [answer.status_code for answer in answers] == [202, 429, 200]


HOOKS = ("hooks.example.com",)
WITH_CALLBACK = {**GOAL, "callback_url": "https://hooks.example.com/"}
CARD = {"goal": "check the card 4111 1111 1111 1111 for me"}


def caller_with(settings: Settings, **changed: Any) -> Caller:
    """Return a caller of an API with changed settings."""
    return Caller(
        create_app(replace(settings, **changed)),
        sign_token(settings, tenant=TENANT, key_id="k", scopes=SCOPES),
    )


def submit_once(call: Caller, contract: dict[str, Any], key: str = "k") -> Any:
    return call("POST", "/v1/tasks", json=contract, headers={"Idempotency-Key": key})


def test_a_repeat_after_its_deadline_returns_the_first_task(call: Caller) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=0.7)
    contract = {**GOAL, "deadline": deadline.isoformat()}
    first = submit_once(call, contract)
    wait_until(lambda: datetime.now(UTC) > deadline, 5, "the deadline to pass")

    again = submit_once(call, contract)
    conflict = submit_once(call, {**contract, "goal": "another"})

    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert_problem(conflict, 409, "idempotency_conflict")
    assert_problem(submit_once(call, contract, key="new"), 422, "validation_error")


def test_a_repeat_after_webhooks_were_disabled_returns_the_first_task(
    call: Caller, settings: Settings
) -> None:
    first = submit_once(caller_with(settings, webhook_allowed_hosts=HOOKS), WITH_CALLBACK)

    again = submit_once(call, WITH_CALLBACK)

    assert (first.status_code, again.status_code, again.json) == (202, 200, first.json)
    assert_problem(submit_once(call, WITH_CALLBACK, key="new"), 422, "validation_error")


def test_a_repeat_after_its_attachment_was_deleted_returns_the_first_task(
    call: Caller, engine: Engine
) -> None:
    file_id = call("POST", "/v1/files", data=b"some text").json["artifact_id"]
    contract = {**GOAL, "attachments": [file_id]}
    first = submit_once(call, contract)
    with statement(engine) as conn:
        conn.exec_driver_sql("DELETE FROM artifacts")

    again = submit_once(call, contract)

    assert (first.status_code, again.status_code, again.json) == (202, 200, first.json)
    assert_problem(submit_once(call, contract, key="new"), 422, "validation_error")


def test_a_repeat_that_the_policy_refuses_now_returns_the_first_task(
    call: Caller, settings: Settings
) -> None:
    first = submit_once(call, CARD)

    again = submit_once(caller_with(settings, safety_policy="block"), CARD)

    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json["redacted"] == {"pii.card": 1}
    assert again.json == first.json


def test_an_invalid_body_with_a_key_in_use_is_a_conflict(call: Caller) -> None:
    submit_once(call, GOAL)

    assert_problem(submit_once(call, {"goal": ""}), 409, "idempotency_conflict")
    unreadable = call(
        "POST",
        "/v1/tasks",
        data="{",
        content_type="application/json",
        headers={"Idempotency-Key": "k"},
    )
    assert_problem(unreadable, 400, "malformed_json")
