"""Without a strong enough sandbox an executor's worker takes no work, reports why, and its steps fail with that."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from api.app import create_app
from orchestrator.chord.database import statement
from orchestrator.cli import checks
from orchestrator.cli.checks import CheckStatus
from orchestrator.memory import pools
from orchestrator.memory.pools import Pool
from orchestrator.settings import Settings
from tests.integration.kit import Engineer, wait_step
from tests.waiting import wait_until
from workers.runtime import process
from workers.sweeper import Sweeper
from workers.tasks import app

_ROOT = Path(__file__).parents[2]
_COMMAND = ("-A", "workers", "worker", "-P", "prefork", "-c", "1", "--without-mingle", "--without-gossip")


@pytest.fixture
def withheld(engine: Engine, our_settings: Settings, tmp_path: Path) -> Iterator[Pool]:
    """A worker for two queues that requires a strong sandbox, on a machine without bubblewrap."""
    environment = {**os.environ, "PATH": "/nowhere", "EXECUTOR_MIN_ISOLATION": "strong"}
    queues = ("-Q", "arm.executor,arm.coder", "-n", "withheld@here")
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", *_COMMAND, *queues],
            cwd=_ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: len(living(engine)) == 2, 60, f"the worker to beat; see {log.name}", every=0.2)
        yield living(engine)["executor"]
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)


def living(engine: Engine) -> dict[str, Pool]:
    """Return the live pools by arm."""
    with statement(engine) as conn:
        return {pool.arm: pool for pool in pools.alive(conn)}


def test_a_worker_without_a_sandbox_takes_no_work_and_reports_why(
    withheld: Pool, engine: Engine, engineer: Engineer, our_settings: Settings, redis_url: str
) -> None:
    process.start(app, service="tests")
    with redis.Redis.from_url(redis_url) as broker:
        task_id = engineer.start(wait_step("pause"), wait_step("other"))
        engineer.take(task_id, "other", lease_seconds=60)
        sweeper = Sweeper(process.of(app).process, broker)
        with statement(engine) as conn:
            conn.exec_driver_sql("UPDATE steps SET due = now() WHERE state = 'queued'")
        published = sweeper.publish_due().taken
        at_once = sweeper.give_up_out_of_reach().taken
        with statement(engine) as conn:
            conn.exec_driver_sql(
                "UPDATE steps SET due = now(), queued_at = now() - interval '1 minute' WHERE state = 'queued'"
            )
        later = sweeper.give_up_out_of_reach().taken
        # one list a priority
        not_taken = sum(broker.llen(key) for key in broker.keys("arm.executor*"))
    ready = create_app(our_settings).test_client().get("/ready").json
    findings = {result.subject: result for result in checks.postgres(our_settings)}

    assert withheld.isolation == "none"
    assert "bubblewrap is not installed" in str(withheld.unavailable)
    assert living(engine)["coder"].unavailable is None
    assert (published, at_once, later, not_taken) == (1, 0, 1, 1)
    error = engineer.row(task_id, "pause")["result"]["error"]
    assert error["code"] == "sandbox_unavailable"
    assert "apt-get install bubblewrap" in error["message"]
    assert ready["checks"]["workers"]["executor"] == 0
    assert "apt-get install bubblewrap" in ready["checks"]["withheld"]["executor"]
    assert findings[withheld.node].status is CheckStatus.FAILURE
