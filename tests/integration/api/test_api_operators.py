"""METRICS_TOKEN protects the operators' endpoints, and frequent readiness checks don't load the servers."""

from dataclasses import replace
from threading import Thread

import pytest
from flask import Flask
from sqlalchemy import Engine, event

from api.app import create_app
from api.middleware.context import orchestrator_of
from api.routes import readiness
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller

TOKEN = "scrape-" + "x" * 20


@pytest.fixture(scope="module")
def protected(settings: Settings) -> Flask:
    """An app with METRICS_TOKEN, which allows three failed credentials of an address."""
    return create_app(replace(settings, metrics_token=TOKEN, failed_auth_limit=Rate(3, 3600)))


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_metrics_need_the_metrics_token_if_one_is_set(protected: Flask, prefix: str) -> None:
    path = f"{prefix}/metrics"

    assert_problem(Caller(protected, None)("GET", path), 401, "missing_auth")
    assert_problem(Caller(protected, f"{TOKEN}x")("GET", path), 401, "invalid_credential")
    assert Caller(protected, TOKEN)("GET", path).status_code == 200


def test_a_wrong_metrics_token_counts_as_a_failed_credential(protected: Flask) -> None:
    guess = {"headers": {"Authorization": "Bearer gu\xe9ss"}, "environ_base": {"REMOTE_ADDR": "192.0.2.9"}}

    answers = [Caller(protected, None)("GET", "/metrics", **guess).status_code for _ in range(4)]

    assert answers == [401, 401, 401, 429]


def test_ready_returns_only_ready_to_callers_without_the_token(protected: Flask) -> None:
    of_others, of_ours = Caller(protected, None)("GET", "/ready"), Caller(protected, TOKEN)("GET", "/ready")

    assert of_others.status_code == of_ours.status_code
    assert of_others.json["ready"] == of_ours.json["ready"]
    assert (of_others.json["checks"], of_others.json["warnings"]) == ({}, [])
    assert of_ours.json["checks"]["database"] == "healthy"


def test_readiness_queries_the_database_once_a_second(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CACHE_SECONDS", 60.0)
    app = create_app(settings)
    sent = _statements(orchestrator_of(app).engine)

    first = Caller(app, None)("GET", "/ready")
    asked_once = len(sent)
    askers = [Thread(target=Caller(app, None), args=("GET", "/ready")) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert asked_once > 0
    assert len(sent) == asked_once
    assert Caller(app, None)("GET", "/ready").json == first.json


def _statements(engine: Engine) -> list[str]:
    sent: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda _conn, _cursor, statement, *_: sent.append(statement)
    )
    return sent
