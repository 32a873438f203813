"""While Postgres or Redis is read-only, writes get 503 and the API is not ready."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import make_url

from api.app import create_app
from api.streaming.hub import hub_of
from orchestrator.chord.database import open_engine, statement
from orchestrator.connections.redis_client import open_client
from orchestrator.devserver.valkey import Valkey
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller
from tests.integration.api.test_api_system import staff
from tests.integration.kit import Engineer, verdict, wait_step


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Simulate a failover: cut the database's connections and make it read-only."""
    address = make_url(url)
    beside = open_engine(address.set(database="postgres").render_as_string(hide_password=False), pool_size=1)

    def switch(setting: str) -> None:
        with statement(beside) as conn:
            conn.exec_driver_sql(
                f"ALTER DATABASE {address.database} SET default_transaction_read_only = {setting}"
            )
            conn.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %(name)s",
                {"name": address.database},
            )

    switch("on")
    try:
        yield
    finally:
        switch("off")
        beside.dispose()


def test_every_write_gets_503_until_a_primary_is_back(
    call: Caller, engineer: Engineer, postgres_url: str
) -> None:
    open_task = engineer.start(wait_step("a"))
    ended = engineer.start(wait_step("a"))
    engineer.do(ended, "a")
    engineer.judge(ended, verdict(Decision.PASSED))
    writes: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/tasks", {"json": {"goal": "wait for it"}}),
        ("POST", "/v1/tasks", {"json": {"goal": "wait"}, "headers": {"Idempotency-Key": "k"}}),
        ("POST", "/v1/files?filename=a.txt", {"data": b"a", "content_type": "application/octet-stream"}),
        ("POST", f"/v1/tasks/{ended}/retry", {}),
        ("POST", f"/v1/tasks/{open_task}/cancel", {}),
        ("DELETE", f"/v1/tasks/{open_task}", {}),
        ("POST", "/v1/arms/register", {"json": {"arm_id": "coder", "status": "healthy"}}),
    ]

    with read_only(postgres_url):
        answers = [(path, call(method, path, **request)) for method, path, request in writes]
        seen = call("GET", f"/v1/tasks/{open_task}")

    for path, answer in answers:
        assert answer.status_code == 503, (path, answer.json)
        problem = assert_problem(answer, 503, "service_unavailable")
        assert problem["retryable"] is True
        assert int(answer.headers["Retry-After"]) > 0
    assert seen.status_code == 200
    assert call("POST", "/v1/tasks", json={"goal": "wait for it"}).status_code == 202


def test_a_read_only_database_is_not_ready(call: Caller, postgres_url: str) -> None:
    before = call("GET", "/ready").json["checks"]["database"]

    with read_only(postgres_url):
        meanwhile = call("GET", "/ready")

    assert (before, meanwhile.status_code) == ("healthy", 503)
    assert meanwhile.json["checks"]["database"] == "unhealthy"
    assert meanwhile.json["checks"]["faults"]["database"] == "it is read-only: a standby, or set so"
    assert call("GET", "/ready").json["checks"]["database"] == "healthy"


def test_a_read_only_redis_is_not_ready(settings: Settings, own_redis: Valkey) -> None:
    open_client(own_redis.url).replicaof("127.0.0.1", "1")
    app = create_app(replace(settings, redis_url=own_redis.url))

    answer = Caller(app, None)("GET", "/ready")

    assert (answer.status_code, answer.json["checks"]["redis"]) == (503, "unhealthy")
    assert answer.json["checks"]["faults"] == {
        "redis": "it is read-only: a replica, or a failover is under way"
    }
    hub_of(app).stop()


def test_readiness_checks_leave_no_dead_rows(call: Caller, engineer: Engineer) -> None:
    staff(engineer.engine, "coder")
    versions = [engineer.ask("SELECT ctid::text FROM pools")]

    for _ in range(3):
        assert call("GET", "/ready").json["checks"]["database"] == "healthy"
        versions.append(engineer.ask("SELECT ctid::text FROM pools"))

    assert versions == versions[:1] * 4
