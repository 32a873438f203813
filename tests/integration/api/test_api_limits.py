"""Limits: rates of calls and failed credentials, open tasks, queued steps, tool seconds, files and streams."""

import json
import time
from dataclasses import replace
from secrets import token_hex

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.streaming.stream_limit import StreamLimit
from orchestrator.auth.credential import SCOPES, new_api_key, sign_token
from orchestrator.chord.database import transaction
from orchestrator.devserver.child_process import free_port
from orchestrator.lifecycle import backpressure
from orchestrator.memory import keys
from orchestrator.models.errors import TenantLimit
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.api.live_server import serving
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until

LIMITED = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@pytest.fixture(scope="module")
def limited(settings: Settings) -> Flask:
    """An app that allows three calls and three failed credentials an hour."""
    return create_app(replace(settings, rate_limit=Rate(3, 3600), failed_auth_limit=Rate(3, 3600)))


def token_of(settings: Settings, *, key_id: str, tenant: str = "acme") -> str:
    return sign_token(settings, tenant=tenant, key_id=key_id, scopes=SCOPES)


def test_each_response_has_the_remaining_calls_and_a_429_has_retry_after(
    limited: Flask, settings: Settings
) -> None:
    call = Caller(limited, token_of(settings, key_id="a"))

    answers = [
        call("GET", "/v1/arms"),
        call("GET", "/v1/tasks/task_0000000000000000"),
        call("POST", "/v1/tasks", json={}),
        call("GET", "/v1/arms"),
    ]

    problem = assert_problem(answers[3], 429, "rate_limit_exceeded")
    assert [answer.status_code for answer in answers] == [200, 404, 422, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"3"}
    assert all(int(answer.headers["X-RateLimit-Reset"]) > time.time() for answer in answers)
    assert (
        int(answers[3].headers["Retry-After"]) == problem["retry_after"] == problem["details"]["retry_after"]
    )
    assert 1000 < problem["retry_after"] <= 1200
    assert problem["retryable"] is True


def test_each_key_has_its_own_rate_and_its_tokens_share_it(limited: Flask, settings: Settings) -> None:
    mine = [Caller(limited, token_of(settings, key_id="b")) for _ in range(2)]
    others = [
        Caller(limited, token_of(settings, key_id="c")),
        Caller(limited, token_of(settings, key_id="b", tenant="umbrella")),
    ]

    used = [mine[number % 2]("GET", "/v1/arms").status_code for number in range(4)]

    assert used == [200, 200, 200, 429]
    assert [other("GET", "/v1/arms").headers["X-RateLimit-Remaining"] for other in others] == ["2", "2"]


def test_public_endpoints_are_not_limited(limited: Flask) -> None:
    answers = [Caller(limited, None)("GET", "/health") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any(LIMITED & set(answer.headers.keys()) for answer in answers)


def test_token_requests_count_as_calls_of_the_key(limited: Flask, engine: Engine) -> None:
    with transaction(engine) as conn:
        _, text = keys.create(conn, tenant="acme", scopes=["all"])
    anonymous = Caller(limited, None)

    answers = [anonymous("POST", "/v1/auth/token", headers={"X-API-Key": text}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["X-RateLimit-Remaining"] == "2"


def test_invalid_keys_do_not_block_a_valid_key_of_the_same_address(limited: Flask, engine: Engine) -> None:
    with transaction(engine) as conn:
        _, good = keys.create(conn, tenant="acme", scopes=["all"])
    anonymous = Caller(limited, None)
    guesses = [new_api_key().text for _ in range(4)]

    answers = [anonymous("POST", "/v1/auth/token", headers={"X-API-Key": guess}) for guess in guesses]
    right = anonymous("POST", "/v1/auth/token", headers={"X-API-Key": good})
    one_more = anonymous("POST", "/v1/auth/token", headers={"X-API-Key": guesses[0]})

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert right.status_code == 200
    assert_problem(one_more, 429, "rate_limit_exceeded")


def test_a_valid_token_is_accepted_from_an_address_that_failed(limited: Flask, settings: Settings) -> None:
    bad, good = Caller(limited, "x.y.z"), Caller(limited, token_of(settings, key_id="d"))

    refused = [bad("GET", "/v1/arms").status_code for _ in range(4)]

    assert refused == [401, 401, 401, 429]
    assert good("GET", "/v1/arms").status_code == 200


def test_behind_a_trusted_proxy_the_client_s_address_counts(settings: Settings) -> None:
    app = create_app(replace(settings, failed_auth_limit=Rate(1, 3600), trusted_proxies=1))
    bad = Caller(app, "x.y.z")

    first, second, other = (
        bad("GET", "/v1/arms", headers={"X-Forwarded-For": f"{spoofed}, {address}"}).status_code
        for spoofed, address in [("9.9.9.9", "192.0.2.1"), ("8.8.8.8", "192.0.2.1"), ("9.9.9.9", "192.0.2.2")]
    )

    assert (first, second, other) == (401, 429, 401)


def test_an_ipv6_network_is_one_caller(settings: Settings) -> None:
    app = create_app(replace(settings, failed_auth_limit=Rate(1, 3600)))
    bad = Caller(app, "x.y.z")

    answers = [
        bad("GET", "/v1/arms", environ_base={"REMOTE_ADDR": address}).status_code
        for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    ]

    assert answers == [401, 429, 401]


def test_calls_are_limited_also_while_redis_is_away(settings: Settings) -> None:
    away = f"redis://127.0.0.1:{free_port()}/0"
    app = create_app(replace(settings, redis_url=away, rate_limit=Rate(2, 3600)))
    call = Caller(app, token_of(settings, key_id="e"))

    answers = [call("GET", "/v1/arms") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert set(answers[0].headers.keys()) >= LIMITED


def test_a_tenant_at_its_limit_of_open_tasks_gets_429(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backpressure, "KEPT_SECONDS", 0)
    app = create_app(replace(settings, max_open_tasks=2))
    ours, theirs = (Caller(app, token_of(settings, key_id="f", tenant=name)) for name in ("acme", "umbrella"))
    task_id, _ = (ours("POST", "/v1/tasks", json={"goal": "do it"}).json["task_id"] for _ in range(2))

    refused = ours("POST", "/v1/tasks", json={"goal": "do it"})
    others = theirs("POST", "/v1/tasks", json={"goal": "do it"})
    ours("DELETE", f"/v1/tasks/{task_id}")
    later = ours("POST", "/v1/tasks", json={"goal": "do it"})

    problem = assert_problem(refused, 429, "too_many_tasks")
    assert int(refused.headers["Retry-After"]) == problem["retry_after"] > 0
    assert problem["details"]["limit"] == 2
    assert (others.status_code, later.status_code) == (202, 202)


def test_a_full_queue_refuses_every_tenant(settings: Settings) -> None:
    app = create_app(replace(settings, max_queued_steps=2))
    callers = [
        Caller(app, token_of(settings, key_id="g", tenant=name)) for name in ("acme", "acme", "umbrella")
    ]

    answers = [call("POST", "/v1/tasks", json={"goal": "do it"}) for call in callers]

    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert assert_problem(answers[2], 503, "queue_full")["retryable"] is True
    assert int(answers[2].headers["Retry-After"]) > 0


@pytest.fixture
def without_count_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the app count anew for each submission."""
    monkeypatch.setattr(backpressure, "KEPT_SECONDS", 0)
    monkeypatch.setattr(backpressure, "TOOL_SECONDS_KEPT_SECONDS", 0)


@pytest.mark.usefixtures("without_count_cache")
def test_the_limit_of_queued_steps_applies_to_one_tenant_only(settings: Settings) -> None:
    app = create_app(replace(settings, tenant_max_queued_steps=2))
    ours, theirs = (Caller(app, token_of(settings, key_id="f", tenant=name)) for name in ("acme", "umbrella"))

    answers = [
        call("POST", "/v1/tasks", json={"goal": f"do part {number}"})
        for number, call in enumerate((ours, ours, ours, theirs))
    ]

    assert [answer.status_code for answer in answers] == [202, 202, 429, 202]
    problem = assert_problem(answers[2], 429, "tenant_limit_exceeded")
    assert problem["details"]["setting"] == "TENANT_MAX_QUEUED_STEPS"
    assert int(answers[2].headers["Retry-After"]) == problem["retry_after"] > 0


@pytest.mark.usefixtures("without_count_cache")
def test_a_tenant_at_its_daily_limit_of_tool_seconds_gets_429(settings: Settings, engineer: Engineer) -> None:
    app = create_app(replace(settings, tenant_cpu_seconds_a_day=100))
    ours, theirs = (Caller(app, token_of(settings, key_id="f", tenant=name)) for name in (TENANT, "umbrella"))
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    engineer.do(task_id, "a")
    engineer.ask(
        "UPDATE steps SET started_at = now() - interval '101 seconds' WHERE task_id = %(id)s AND name = 'a'",
        id=task_id,
    )

    refused = ours("POST", "/v1/tasks", json={"goal": "do it"})
    others = theirs("POST", "/v1/tasks", json={"goal": "do it"})
    engineer.ask(
        "UPDATE steps SET finished_at = now() - interval '25 hours' WHERE task_id = %(id)s AND name = 'a'",
        id=task_id,
    )
    later = ours("POST", "/v1/tasks", json={"goal": "do it"})

    problem = assert_problem(refused, 429, "tenant_limit_exceeded")
    assert problem["details"]["setting"] == "TENANT_CPU_SECONDS_A_DAY"
    assert (others.status_code, later.status_code) == (202, 202)


def test_a_tenant_s_files_are_limited_in_bytes(settings: Settings) -> None:
    app = create_app(replace(settings, tenant_max_stored_bytes=100))
    ours, theirs = (Caller(app, token_of(settings, key_id="f", tenant=name)) for name in ("acme", "umbrella"))
    kept = ours("POST", "/v1/files", data=b"a" * 60).json["artifact_id"]

    refused = ours("POST", "/v1/files", data=b"b" * 41)
    again = ours("POST", "/v1/files", data=b"a" * 60)
    others = theirs("POST", "/v1/files", data=b"b" * 41)
    freed = ours("DELETE", f"/v1/files/{kept}")
    later = ours("POST", "/v1/files", data=b"b" * 41)

    problem = assert_problem(refused, 403, "storage_limit_exceeded")
    assert problem["details"] == {"setting": "TENANT_MAX_STORED_BYTES", "limit": 100}
    assert "DELETE /v1/files" in problem["detail"]
    assert (again.status_code, others.status_code, later.status_code) == (201, 201, 201)
    assert freed.json == {"artifact_id": kept, "freed_bytes": 60}


def test_a_tenant_s_streams_are_limited_over_all_processes(settings: Settings, engineer: Engineer) -> None:
    few = replace(settings, tenant_max_streams=2)
    tenant = f"watcher-{token_hex(4)}"
    task_ids = {
        name: engineer.submit(wait_step("a"), tenant=name) for name in (tenant, f"{tenant}-neighbour")
    }
    tokens = {name: sign_token(settings, tenant=name, key_id=name, scopes=SCOPES) for name in task_ids}
    with serving(few) as one, serving(few) as other:
        first = one.open(task_ids[tenant], token=tokens[tenant])
        with other.open(task_ids[tenant], token=tokens[tenant]):
            status, headers, text = one.get(
                f"/v1/tasks/{task_ids[tenant]}/events",
                {"Accept": "text/event-stream", "Authorization": f"Bearer {tokens[tenant]}"},
            )
            neighbour = f"{tenant}-neighbour"
            with one.open(task_ids[neighbour], token=tokens[neighbour]):
                pass
            first.close()
            wait_until(lambda: one.hub.streams == 0, 10, "the first stream to be closed")
            with other.open(task_ids[tenant], token=tokens[tenant]):
                pass

    problem = json.loads(text)
    assert (status, problem["code"]) == (429, "tenant_limit_exceeded")
    assert problem["details"]["setting"] == "TENANT_MAX_STREAMS"
    assert int(headers["Retry-After"]) > 0


def test_streams_are_limited_per_process_while_redis_is_away() -> None:
    stream_limit = StreamLimit(f"redis://127.0.0.1:{free_port()}/0", max_streams=1)
    slot = stream_limit.acquire("acme")
    stream_limit.renew()

    with pytest.raises(TenantLimit):
        stream_limit.acquire("acme")
    stream_limit.acquire("umbrella")
    stream_limit.release(slot)
    stream_limit.release(slot)

    assert stream_limit.acquire("acme")


def test_priority_critical_needs_a_scope_of_its_own(as_caller: AsCaller) -> None:
    plain = as_caller(scopes=("task:submit", "task:read", "task:cancel"))
    urgent = as_caller(scopes=("task:submit", "task:read", "task:cancel", "task:critical"))
    critical = {"goal": "do it", "priority": "critical"}

    refused = plain("POST", "/v1/tasks", json=critical)
    accepted = urgent("POST", "/v1/tasks", json=critical)
    task_id = accepted.json["task_id"]
    urgent("DELETE", f"/v1/tasks/{task_id}")
    retried = plain("POST", f"/v1/tasks/{task_id}/retry")

    assert accepted.status_code == 202
    for answer in (refused, retried):
        problem = assert_problem(answer, 403, "insufficient_permissions")
        assert problem["details"]["required_scope"] == "task:critical"
    assert plain("POST", "/v1/tasks", json={"goal": "do it", "priority": "high"}).status_code == 202
