"""How often: every answer says what is left, too much is a 429 that says when, and guessing gets slow."""

import time
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from orchestrator.credential import SCOPES, new_api_key, sign_token
from orchestrator.devstack.process import free_port
from orchestrator.lifecycle import occupancy
from orchestrator.settings import Rate, Settings
from orchestrator.store import keys
from orchestrator.store.engine import transaction
from tests.integration.api.conftest import Caller
from tests.integration.api.shapes import assert_problem

LIMITED = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


@pytest.fixture(scope="module")
def limited(settings: Settings) -> Flask:
    """An app that allows three calls an hour, and as many credentials that do not hold."""
    return create_app(replace(settings, rate_limit=Rate(3, 3600), failed_auth_limit=Rate(3, 3600)))


def token_of(settings: Settings, *, key_id: str, tenant: str = "acme") -> str:
    return sign_token(settings, tenant=tenant, key_id=key_id, scopes=SCOPES)


def test_every_answer_says_what_is_left_and_one_too_many_says_when(
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


def test_what_needs_no_credential_is_not_limited(limited: Flask) -> None:
    answers = [Caller(limited, None)("GET", "/health") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any(LIMITED & set(answer.headers.keys()) for answer in answers)


def test_making_tokens_counts_as_calls_of_the_key(limited: Flask, engine: Engine) -> None:
    with transaction(engine) as conn:
        _, text = keys.create(conn, tenant="acme", scopes=["all"])
    nobody = Caller(limited, None)

    answers = [nobody("POST", "/v1/auth/token", headers={"X-API-Key": text}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["X-RateLimit-Remaining"] == "2"


def test_wrong_keys_do_not_block_a_right_key_of_the_same_address(limited: Flask, engine: Engine) -> None:
    with transaction(engine) as conn:
        _, good = keys.create(conn, tenant="acme", scopes=["all"])
    nobody = Caller(limited, None)
    guesses = [new_api_key().text for _ in range(4)]

    answers = [nobody("POST", "/v1/auth/token", headers={"X-API-Key": guess}) for guess in guesses]
    right = nobody("POST", "/v1/auth/token", headers={"X-API-Key": good})
    one_more = nobody("POST", "/v1/auth/token", headers={"X-API-Key": guesses[0]})

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert right.status_code == 200
    assert_problem(one_more, 429, "rate_limit_exceeded")


def test_a_token_that_holds_is_heard_from_an_address_that_failed(limited: Flask, settings: Settings) -> None:
    bad, good = Caller(limited, "x.y.z"), Caller(limited, token_of(settings, key_id="d"))

    refused = [bad("GET", "/v1/arms").status_code for _ in range(4)]

    assert refused == [401, 401, 401, 429]
    assert good("GET", "/v1/arms").status_code == 200


def test_behind_a_proxy_of_ours_the_clients_own_address_counts(settings: Settings) -> None:
    app = create_app(replace(settings, failed_auth_limit=Rate(1, 3600), trusted_proxies=1))
    bad = Caller(app, "x.y.z")

    first, second, other = (
        bad("GET", "/v1/arms", headers={"X-Forwarded-For": f"{spoofed}, {address}"}).status_code
        for spoofed, address in [("9.9.9.9", "192.0.2.1"), ("8.8.8.8", "192.0.2.1"), ("9.9.9.9", "192.0.2.2")]
    )

    assert (first, second, other) == (401, 429, 401)


def test_a_network_of_ipv6_is_one_caller(settings: Settings) -> None:
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


def test_a_tenant_with_enough_open_tasks_waits_for_some_to_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupancy, "KEPT_SECONDS", 0)
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


def test_a_full_queue_pushes_back_on_everybody(settings: Settings) -> None:
    app = create_app(replace(settings, max_queued_steps=2))
    callers = [
        Caller(app, token_of(settings, key_id="g", tenant=name)) for name in ("acme", "acme", "umbrella")
    ]

    answers = [call("POST", "/v1/tasks", json={"goal": "do it"}) for call in callers]

    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert assert_problem(answers[2], 503, "queue_full")["retryable"] is True
    assert int(answers[2].headers["Retry-After"]) > 0
