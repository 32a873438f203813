"""Postgres goes away while a step runs: no computed result is lost, and no failure is counted."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import open_engine, statement
from orchestrator.memory.claims import Claim
from orchestrator.memory.hints import Hints
from orchestrator.models.step_result import ResultStatus, StepResult
from tests.integration.attempt_kit import run_step
from tests.integration.kit import Engineer, wait_step
from tests.waiting import wait_until
from workers.attempt.claims import claim_in_turn
from workers.attempt.context import AttemptContext
from workers.runtime import process
from workers.tasks import app


def worker_on(engineer: Engineer, url: str) -> WorkerProcess:
    """A worker process with its own connections."""
    engine = open_engine(url, pool_size=1)
    return WorkerProcess(engineer.settings, engine, Hints(engineer.settings.redis_url), app, owner="me")


def run(worker: WorkerProcess, claim: Claim) -> StepResult:
    return run_step(replace(AttemptContext.of(worker, claim), deadline=time.monotonic() + 60))


@contextmanager
def closed_to_new_connections(url: str) -> Iterator[None]:
    """A database that refuses new connections; open ones stay."""
    address = make_url(url)
    beside = address.set(database="postgres").render_as_string(hide_password=False)
    elsewhere = open_engine(beside, pool_size=1)

    def allow(yes: bool) -> None:
        with statement(elsewhere) as conn:
            conn.exec_driver_sql(f"ALTER DATABASE {address.database} WITH ALLOW_CONNECTIONS {yes}")

    allow(False)
    try:
        yield
    finally:
        allow(True)
        elsewhere.dispose()


def test_a_step_that_finds_no_database_has_not_failed(engineer: Engineer) -> None:
    claim = engineer.take(engineer.start(wait_step("a")), "a")
    stored = {"a": {"status": "done", "output": {"size_bytes": 1}, "artifact": "0" * 64}}
    worker = worker_on(engineer, "postgresql://postgres@127.0.0.1:1/away")

    with pytest.raises(OperationalError):
        run(worker, replace(claim, bound=stored))


def test_a_claim_waits_for_the_database_so_that_its_message_is_not_lost(
    engineer: Engineer, postgres_url: str
) -> None:
    step_id = engineer.row(engineer.start(wait_step("a")), "a")["id"]
    worker = worker_on(engineer, postgres_url)

    with ThreadPoolExecutor(1) as pool:
        with closed_to_new_connections(postgres_url):
            claiming = pool.submit(claim_in_turn, worker, step_id)
            wait_until(worker.engine.pool.overflow, 10, "the claim to have tried")  # type: ignore[attr-defined]  # a QueuePool's
            ended_without, _ = wait([claiming], timeout=0.5)
        claim = claiming.result(timeout=30)

    assert not ended_without
    assert claim.attempt == 1


@pytest.mark.parametrize("inline_bytes", [10, 10_000], ids=["to be put away", "small"])
def test_a_computed_result_outlasts_the_database(
    engineer: Engineer, postgres_url: str, inline_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result stored as a file waits for the database; a small one needs it only when it is recorded."""
    monkeypatch.setattr("orchestrator.lifecycle.output_offload.INLINE_BYTES", inline_bytes)
    claim = engineer.take(engineer.start(wait_step("a", inputs={"seconds": 1})), "a")
    worker = worker_on(engineer, postgres_url)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, worker, claim)
        with closed_to_new_connections(postgres_url):
            worker.engine.dispose()
            ended_without, _ = wait([running], timeout=1.5)
        result = running.result(timeout=30)

    assert bool(ended_without) is (inline_bytes > 10)
    assert result.status is ResultStatus.DONE, result.error


def test_a_lease_is_handed_back_as_soon_as_the_database_is_back(
    engineer: Engineer, postgres_url: str
) -> None:
    task_id = engineer.start(wait_step("a"))
    claim = engineer.take(task_id, "a", owner=f"me:{task_id}")
    worker = process.start(app, service="tests")
    worker.process.engine.dispose()

    def hand_back() -> None:
        worker.hand_back(claim.id, task_id=task_id, owner=f"me:{task_id}", died=False, patience_seconds=60)

    handing_back = threading.Thread(target=hand_back)
    with closed_to_new_connections(postgres_url):
        handing_back.start()
        handing_back.join(timeout=0.5)
        was_waiting = handing_back.is_alive()
    handing_back.join()

    assert was_waiting
    assert engineer.row(task_id, "a")["state"] == "queued"
