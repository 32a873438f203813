"""The operators' endpoints, and the API while a server is away."""

import time
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine

from api.app import create_app
from api.streaming.hub import Hub
from api.streaming.stream_limit import StreamLimit
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.chord.database import transaction
from orchestrator.memory import pools
from orchestrator.models import signing_key
from orchestrator.models.arm_capability import ARMS
from orchestrator.settings import Settings
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.kit import Engineer, wait_step
from tests.waiting import wait_until

AWAY = "127.0.0.1:1"


@pytest.fixture
def anonymous(app: Flask) -> Caller:
    """A caller without a token."""
    return Caller(app, None)


def staff(engine: Engine, *arms: str) -> None:
    """Store a heartbeat of a worker of each arm."""
    with transaction(engine) as conn:
        for arm in arms:
            pools.record_heartbeat(
                conn,
                pools.PoolReport(
                    node=f"{arm}@here",
                    queue=ARMS[arm].queue,
                    arm=arm,
                    concurrency=4,
                    busy=1,
                    isolation="none",
                    version="1",
                    registry_digest="d",
                ),
            )


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_health_depends_on_nothing(settings: Settings, prefix: str) -> None:
    lonely = replace(
        settings, database_url=f"postgresql+psycopg2://u:p@{AWAY}/d", redis_url=f"redis://{AWAY}/0"
    )

    answer = Caller(create_app(lonely), None)("GET", f"{prefix}/health")

    assert answer.status_code == 200
    assert answer.json["status"] == "healthy"
    assert isinstance(answer.json["version"], str)
    assert type(answer.json["uptime_seconds"]) is int
    assert all(isinstance(state, str) for state in answer.json["components"].values())
    assert_time(answer.json["timestamp"])


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_ready_needs_a_worker_of_every_arm(engine: Engine, anonymous: Caller, prefix: str) -> None:
    staff(engine, *(arm for arm in ARMS if arm != "coder"))
    before = anonymous("GET", f"{prefix}/ready")
    staff(engine, "coder")
    after = anonymous("GET", f"{prefix}/ready")

    assert (before.status_code, before.json["ready"]) == (503, False)
    assert before.json["checks"]["workers"]["coder"] == 0
    assert (after.status_code, after.json["ready"]) == (200, True)
    checks = after.json["checks"]
    threads = checks.pop("threads")
    assert checks == {
        "database": "healthy",
        "redis": "healthy",
        "faults": {},
        "workers": dict.fromkeys(ARMS, 1),
        "withheld": {},
    }
    assert {name: thread["error"] for name, thread in threads.items()} == {
        "hub": None,
        "hints": None,
        "audit": None,
    }


def test_ready_warns_that_permits_are_off(settings: Settings, engine: Engine) -> None:
    staff(engine, *ARMS)
    private = signing_key.new_private_key()
    without = replace(settings, permit_private_key=None, permit_public_key=None)
    with_keys = replace(without, permit_public_key=signing_key.public_key_of(private))

    off = Caller(create_app(without), None)("GET", "/ready")
    on = Caller(create_app(with_keys), None)("GET", "/ready")

    assert off.status_code == on.status_code == 200
    assert any("steps run without permits" in warning for warning in off.json["warnings"])
    assert any("octollm keys permits" in warning for warning in off.json["warnings"])
    assert not any("permits" in warning for warning in on.json["warnings"])


def test_a_failing_thread_is_reported_with_its_error_and_start(engineer: Engineer, engine: Engine) -> None:
    stream_limit = StreamLimit(f"redis://{AWAY}/0", max_streams=1)
    hub = Hub(engine, f"redis://{AWAY}/0", stream_limit=stream_limit)
    task = engineer.task(engineer.start(wait_step("a")))

    with hub.subscribe(task, after=0, callback=lambda: None):
        wait_until(lambda: hub.threads()["hints"]["state"] == "failing", 5, "the listener to fail")
        wait_until(lambda: hub.threads()["hub"]["state"] == "working", 5, "the reader to work")
        hints = hub.threads()["hints"]
    hub.stop()

    assert (hints["error"], hints["succeeded_at"]) == ("ConnectionError", None)
    assert_time(hints["failing_since"])


def test_ready_has_the_same_shape_when_a_server_is_away(settings: Settings, anonymous: Caller) -> None:
    without_database = replace(settings, database_url=f"postgresql+psycopg2://u:p@{AWAY}/d")
    without_redis = replace(settings, redis_url=f"redis://{AWAY}/0")

    first = Caller(create_app(without_database), None)("GET", "/ready")
    second = Caller(create_app(without_redis), None)("GET", "/ready")

    assert first.status_code == second.status_code == 503
    assert (first.json["checks"]["database"], first.json["checks"]["redis"]) == ("unhealthy", "healthy")
    assert (second.json["checks"]["database"], second.json["checks"]["redis"]) == ("healthy", "unhealthy")
    assert set(first.json) == set(second.json) == set(anonymous("GET", "/ready").json)


def test_while_the_database_is_away_calls_get_503_with_retry_after(settings: Settings) -> None:
    lonely = replace(settings, database_url=f"postgresql+psycopg2://u:hunter2@{AWAY}/d")
    call = Caller(create_app(lonely), sign_token(settings, tenant="acme", key_id="k", scopes=SCOPES))

    for method, path in (("GET", "/v1/tasks"), ("GET", "/v1/arms")):
        problem = assert_problem(call(method, path), 503, "service_unavailable")
        assert problem["retryable"] is True
        assert "hunter2" not in str(problem)
        assert AWAY not in str(problem)


def test_a_task_is_accepted_while_redis_is_away(settings: Settings, call: Caller) -> None:
    lonely = replace(settings, redis_url=f"redis://{AWAY}/0")
    stranded = Caller(create_app(lonely), sign_token(settings, tenant="acme", key_id="k", scopes=SCOPES))

    started = time.monotonic()
    answer = stranded("POST", "/v1/tasks", json={"goal": "wait for it"})

    assert answer.status_code == 202
    assert time.monotonic() - started < 10
    assert call("GET", answer.headers["Location"]).json["status"] == "queued"


def test_an_unexpected_error_reveals_only_the_request_id(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/v1/broken")
    def broken() -> None:
        raise RuntimeError("the secret is hunter2")

    answer = Caller(app, None)("GET", "/v1/broken")

    assert_problem(answer, 500, "internal_error")
    assert "hunter2" not in answer.get_data(as_text=True)
    assert "RuntimeError" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_metrics_count_requests_by_endpoint_and_never_by_path(
    anonymous: Caller, call: Caller, prefix: str
) -> None:
    call("GET", "/v1/tasks/task_0000000000000000")
    call("GET", "/v1/no/such/path")
    call("BREW", "/v1/tasks")

    answer = anonymous("GET", f"{prefix}/metrics")
    text = answer.get_data(as_text=True)

    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    assert 'flask_http_request_duration_seconds_count{endpoint="tasks.show"' in text
    assert "octollm_active_tasks" in text
    assert "octollm_tasks_total" in text
    assert "task_0000000000000000" not in text
    assert "/v1/no/such/path" not in text
    assert "BREW" not in text


@pytest.mark.parametrize("path", ["/v1/arms", "/v1/capabilities"])
def test_arms_are_listed_with_capabilities_and_status(engine: Engine, call: Caller, path: str) -> None:
    staff(engine, "coder")

    arms = {arm["arm_id"]: arm for arm in call("GET", path).json["arms"]}

    assert set(arms) == {arm.arm_id for arm in ARMS.values() if arm.has_workers}
    assert arms["coder"]["endpoint"] == "celery://arm.coder"
    assert (arms["coder"]["status"], arms["judge"]["status"]) == ("healthy", "unavailable")
    assert arms["coder"]["metadata"]["workers"] == 1
    assert arms["coder"]["metadata"]["max_concurrent_tasks"] == 4
    for arm in arms.values():
        assert arm["capabilities"]
        assert 1 <= arm["cost_tier"] <= 5
        assert arm["input_schema"]
        assert {"version", "model", "average_latency_ms", "success_rate", "queue_depth"} <= set(
            arm["metadata"]
        )


def test_a_declaration_is_replaced_and_measured_values_win(engine: Engine, call: Caller) -> None:
    staff(engine, "coder", "safety-guardian")
    register = "/v1/arms/register"

    first = call("POST", register, json={"arm_id": "coder", "status": "degraded", "metadata": {"a": 1}})
    second = call("POST", register, json={"arm_id": "coder", "metadata": {"model": "m", "workers": 99}})
    alias = call("POST", register, json={"arm_id": "guardian", "status": "unavailable"})
    dead = call("POST", register, json={"arm_id": "judge", "status": "healthy"})

    assert (first.json["arm"]["status"], first.json["arm"]["metadata"]["a"]) == ("degraded", 1)
    assert second.json["arm"]["status"] == "healthy"
    assert "a" not in second.json["arm"]["metadata"]
    assert (second.json["arm"]["metadata"]["model"], second.json["arm"]["metadata"]["workers"]) == ("m", 1)
    assert (alias.json["arm"]["arm_id"], alias.json["arm"]["status"]) == ("safety-guardian", "unavailable")
    assert dead.json["arm"]["status"] == "unavailable"


def test_a_declaration_is_visible_to_its_tenant_only(engine: Engine, as_caller: AsCaller) -> None:
    staff(engine, "coder")
    declaration = {"arm_id": "coder", "status": "degraded", "metadata": {"note": "call 555 now"}}
    as_caller("acme")("POST", "/v1/arms/register", json=declaration)
    as_caller("umbrella")("POST", "/v1/arms/register", json={"arm_id": "coder", "metadata": {"note": "ours"}})

    def coder(tenant: str) -> Any:
        arms = as_caller(tenant)("GET", "/v1/arms").json["arms"]
        return next(arm for arm in arms if arm["arm_id"] == "coder")

    assert (coder("acme")["status"], coder("acme")["metadata"]["note"]) == ("degraded", "call 555 now")
    assert coder("umbrella")["metadata"]["note"] == "ours"
    assert coder("nobody")["status"] == "healthy"
    assert "note" not in coder("nobody")["metadata"]


def test_an_arm_may_be_registered_with_its_complete_description(call: Caller) -> None:
    described = call("GET", "/v1/arms").json["arms"][1]

    answer = call("POST", "/v1/arms/register", json={**described, "status": "degraded"})

    assert answer.status_code == 200
    assert answer.json["arm"]["name"] == described["name"]


@pytest.mark.parametrize(
    "body", [{"arm_id": "toaster"}, {}, {"arm_id": "coder", "status": "asleep"}, {"arm_id": "coder", "x": 1}]
)
def test_an_invalid_registration_is_refused(call: Caller, body: dict[str, object]) -> None:
    assert_problem(call("POST", "/v1/arms/register", json=body), 422, "validation_error")


def test_one_tenant_s_requests_are_not_visible_in_another_s_arms(as_caller: AsCaller) -> None:
    as_caller("acme")("POST", "/v1/tasks", json={"goal": "a secret goal"})

    assert "secret goal" not in as_caller("umbrella")("GET", "/v1/arms").get_data(as_text=True)
