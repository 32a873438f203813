"""No tenant takes a whole worker pool: shares of an arm's slots, turns, and the limit of one tenant."""

import threading

import pytest
from celery.exceptions import Ignore
from sqlalchemy import Engine, event

from orchestrator import bootstrap
from orchestrator.chord.database import statement
from orchestrator.lifecycle import cancel
from orchestrator.memory import pools, steps
from orchestrator.memory.claims import Turn, delay_queued, next_in_turn
from orchestrator.memory.claims import claim as claim_row
from orchestrator.memory.hints import Hints
from orchestrator.memory.registered_arms import RegisteredArms, Registration, register
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.task_contract import Priority
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.integration.http_arm_kit import MANIFEST
from tests.integration.kit import TENANT, Engineer, wait_step
from workers.attempt import claims

OTHER = "umbrella"
NO_LIMIT = 64


@pytest.fixture
def pool(engine: Engine) -> None:
    """An executor pool of two slots."""
    beat(engine, slots=2)


@pytest.fixture
def remote_arms(engineer: Engineer) -> None:
    """Two registered arms of each tenant: weather and tides."""
    ARMS.attach(RegisteredArms(engineer.engine))
    for tenant in (TENANT, OTHER):
        for name in ("weather", "tides"):
            wanted = Registration(
                arm_id=f"{tenant}/{name}",
                tenant=tenant,
                is_shared=False,
                manifest=MANIFEST,
                url="http://127.0.0.1:9/",
                registered_by="me",
            )
            with statement(engineer.engine) as conn:
                register(conn, wanted, ttl_seconds=60, max_arms=9)


def beat(engine: Engine, *, slots: int, arm: str = "executor") -> None:
    with statement(engine) as conn:
        pools.record_heartbeat(
            conn,
            pools.PoolReport(
                node=f"{arm}@here",
                queue=f"arm.{arm}",
                arm=arm,
                concurrency=slots,
                busy=0,
                isolation="basic",
                version="0",
                registry_digest="",
            ),
        )


def turn_of(engineer: Engineer, task_id: str, name: str, *, max_running: int = NO_LIMIT) -> Turn | None:
    with statement(engineer.engine) as conn:
        return next_in_turn(conn, engineer.row(task_id, name)["id"], poison_step=3, max_running=max_running)


def _task_of(turn: Turn | None) -> str | None:
    return turn.message.task_id if turn and turn.message else None


def ask(engineer: Engineer, arm: str, *, tenant: str = TENANT) -> str:
    """Start a task of one step of the tenant's registered arm."""
    step = {"id": "a", "arm": arm, "action": "look", "inputs": {"city": "Bonn"}}
    return engineer.start(step, tenant=tenant)


def crowd(engineer: Engineer, count: int, *, tenant: str = TENANT) -> list[str]:
    return [engineer.start(wait_step("a"), tenant=tenant) for _ in range(count)]


@pytest.mark.usefixtures("pool")
def test_a_tenant_may_take_every_slot_while_no_other_tenant_has_work(engineer: Engineer) -> None:
    tasks = crowd(engineer, 2)

    claims = [engineer.claim(task, "a", max_running=NO_LIMIT) for task in tasks]

    assert all(claims)


@pytest.mark.usefixtures("pool")
def test_the_last_free_slot_is_kept_for_other_tenants(engineer: Engineer) -> None:
    first, second = crowd(engineer, 2)
    other = engineer.start(wait_step("a"), tenant=OTHER)
    engineer.take(first, "a", max_running=NO_LIMIT)

    refused = engineer.claim(second, "a", max_running=NO_LIMIT)
    turn = turn_of(engineer, second, "a")

    assert refused is None
    assert engineer.row(second, "a")["state"] == "queued"
    assert _task_of(turn) == other
    assert engineer.claim(other, "a", max_running=NO_LIMIT)


@pytest.mark.usefixtures("pool")
def test_no_other_row_is_published_while_no_other_tenant_waits(engineer: Engineer) -> None:
    first, second = crowd(engineer, 2)
    engineer.submit(wait_step("a"), tenant=OTHER)
    engineer.take(first, "a", max_running=NO_LIMIT)

    assert engineer.claim(second, "a", max_running=NO_LIMIT) is None
    assert turn_of(engineer, second, "a") == Turn(None)


@pytest.mark.usefixtures("pool")
def test_concurrent_claims_do_not_exceed_a_tenant_s_share(engineer: Engineer) -> None:
    engineer.submit(wait_step("a"), tenant=OTHER)
    tasks = crowd(engineer, 8)
    rows = [engineer.row(task, "a")["id"] for task in tasks]
    together = threading.Barrier(len(rows))

    def claim(row: str) -> None:
        together.wait()
        with statement(engineer.engine) as conn:
            claim_row(conn, row, owner="me", lease_seconds=15, poison_step=3, max_running=NO_LIMIT)

    threads = [threading.Thread(target=claim, args=(row,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(engineer.row(task, "a")["state"] == "running" for task in tasks) == 1


def test_the_tenant_with_fewer_running_steps_comes_first_in_a_large_pool(
    engineer: Engineer, engine: Engine
) -> None:
    beat(engine, slots=8)
    many = crowd(engineer, 3)
    few = crowd(engineer, 2, tenant=OTHER)
    for task in (many[0], few[0], many[1]):
        engineer.take(task, "a", max_running=NO_LIMIT)

    refused = engineer.claim(many[2], "a", max_running=NO_LIMIT)
    turn = turn_of(engineer, many[2], "a")

    assert refused is None
    assert _task_of(turn) == few[1]


@pytest.mark.usefixtures("remote_arms")
def test_the_last_free_slot_of_the_remote_pool_is_kept_for_other_tenants_arms(
    engineer: Engineer, engine: Engine
) -> None:
    beat(engine, slots=2, arm="remote")
    first, second = ask(engineer, "weather"), ask(engineer, "tides")
    other = ask(engineer, "weather", tenant=OTHER)
    engineer.take(first, "a", max_running=NO_LIMIT)

    refused = engineer.claim(second, "a", max_running=NO_LIMIT)
    turn = turn_of(engineer, second, "a")

    assert engineer.row(first, "a")["arm"] == f"{TENANT}/weather"
    assert refused is None
    assert _task_of(turn) == other
    assert engineer.claim(other, "a", max_running=NO_LIMIT)


@pytest.mark.usefixtures("remote_arms")
def test_the_tenant_with_fewer_running_steps_comes_first_in_the_remote_pool(
    engineer: Engineer, engine: Engine
) -> None:
    beat(engine, slots=8, arm="remote")
    many = [ask(engineer, arm) for arm in ("weather", "tides", "weather")]
    few = [ask(engineer, "tides", tenant=OTHER) for _ in range(2)]
    for task in (many[0], few[0], many[1]):
        engineer.take(task, "a", max_running=NO_LIMIT)

    refused = engineer.claim(many[2], "a", max_running=NO_LIMIT)

    assert refused is None
    assert _task_of(turn_of(engineer, many[2], "a")) == few[1]


@pytest.mark.usefixtures("remote_arms", "pool")
def test_steps_of_registered_arms_take_no_share_of_a_built_in_arm(engineer: Engineer, engine: Engine) -> None:
    beat(engine, slots=2, arm="remote")
    engineer.submit(wait_step("a"), tenant=OTHER)
    engineer.take(ask(engineer, "weather"), "a", max_running=NO_LIMIT)

    assert engineer.claim(crowd(engineer, 1)[0], "a", max_running=NO_LIMIT)


@pytest.mark.usefixtures("remote_arms")
def test_queued_steps_of_registered_arms_count_for_the_tenant_s_limit(engineer: Engineer) -> None:
    ask(engineer, "weather")
    ask(engineer, "tides", tenant=OTHER)

    with statement(engineer.engine) as conn:
        assert steps.count_queued_of(conn, TENANT, limit=9) == 1


def test_a_tenant_runs_at_most_max_running_steps(engineer: Engineer) -> None:
    first, second = crowd(engineer, 2)
    engineer.take(first, "a", max_running=1)

    refused = engineer.claim(second, "a", max_running=1)

    assert refused is None
    assert turn_of(engineer, second, "a", max_running=1) == Turn(None)
    assert engineer.claim(second, "a", max_running=2)


@pytest.mark.usefixtures("pool")
def test_a_claim_refused_for_another_reason_passes_no_turn_on(engineer: Engineer) -> None:
    first, second = crowd(engineer, 2)
    engineer.start(wait_step("a"), tenant=OTHER)
    engineer.take(first, "a", max_running=NO_LIMIT)
    with statement(engineer.engine) as conn:
        delay_queued(conn, engineer.row(second, "a")["id"], delay_seconds=60)

    assert turn_of(engineer, first, "a") is None
    assert turn_of(engineer, second, "a") is None


@pytest.mark.usefixtures("pool")
def test_a_step_starts_when_its_tenant_s_others_end_just_after_the_refusal(
    engineer: Engineer, our_settings: Settings
) -> None:
    """The tenant's step is cancelled between the refused claim and the question whose turn it is."""
    first, second = crowd(engineer, 2)
    engineer.submit(wait_step("a"), tenant=OTHER)
    engineer.take(first, "a", max_running=NO_LIMIT)
    worker = bootstrap.WorkerProcess(
        our_settings, engineer.engine, Hints(our_settings.redis_url), make_app(lambda: our_settings), "me"
    )
    statements: list[str] = []

    def end_the_others(_conn: object, _cursor: object, text: str, *_: object) -> None:
        statements.append(text)
        if "WITH RECURSIVE mine" in text and sum("WITH RECURSIVE mine" in sent for sent in statements) == 1:
            cancel.cancel(engineer.engine, tenant=TENANT, task_id=first)

    event.listen(engineer.engine, "before_cursor_execute", end_the_others)
    try:
        claim = claims.claim_in_turn(worker, engineer.row(second, "a")["id"])
    finally:
        event.remove(engineer.engine, "before_cursor_execute", end_the_others)

    assert (claim.task_id, claim.attempt) == (second, 1)
    assert engineer.row(first, "a")["state"] == "cancelled"


@pytest.mark.usefixtures("pool")
def test_a_message_that_passes_its_turn_on_publishes_the_other_tenant_s_row_first(
    engineer: Engineer, our_settings: Settings
) -> None:
    first, second = crowd(engineer, 2)
    other = engineer.start(wait_step("a"), tenant=OTHER, priority=Priority.LOW)
    engineer.take(first, "a", max_running=NO_LIMIT)
    app = make_app(lambda: our_settings)
    worker = bootstrap.WorkerProcess(our_settings, engineer.engine, Hints(our_settings.redis_url), app, "me")

    with pytest.raises(Ignore):
        claims.claim_in_turn(worker, engineer.row(second, "a")["id"])

    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("arm.executor").get(timeout=5)
    assert message.headers["id"] == engineer.row(other, "a")["id"]
    assert message.properties["priority"] == 0  # type: ignore[comparison-overlap]  # not a str, as kombu types it
    late = engineer.ask(
        "SELECT not_before > now() AS late FROM steps WHERE id = %(id)s", id=engineer.row(second, "a")["id"]
    )
    assert late == [{"late": True}]
