"""A worker opens its configured models in the background; concurrent callers wait for them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine

from orchestrator.bootstrap import WorkerProcess
from orchestrator.memory.hints import Hints
from orchestrator.models.model_choice import ModelName
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.waiting import wait_until
from workers.runtime.announcer import Announcer
from workers.runtime.cancellation import CancellationListener
from workers.runtime.heartbeat import Leases
from workers.runtime.process import Worker

_ROOT = Path(__file__).parents[2]
_ASKING_AT_ONCE = 8


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def worker_of(settings: Settings, engine: Engine) -> Worker:
    leases = Leases(
        engine, lease_seconds=settings.lease_seconds, heartbeat_seconds=settings.heartbeat_seconds
    )
    process = WorkerProcess(settings, engine, Hints(settings.redis_url), make_app(lambda: settings), "me")
    cancellations = CancellationListener(settings.redis_url, leases)
    return Worker(process, leases, cancellations, Announcer(engine, process.hints))


def test_concurrent_callers_get_the_same_models_opened_once(
    our_settings: Settings, engine: Engine, fake: FakeLLM
) -> None:
    chosen = replace(
        our_settings, openai_base_url=fake.openai_url, llm_chain=(ModelName("openai", "fake-model"),)
    )
    worker, start = worker_of(chosen, engine), Barrier(_ASKING_AT_ONCE)

    def ask() -> int:
        start.wait(timeout=30)
        return id(worker.models)

    opening = worker.open_early()
    with ThreadPoolExecutor(_ASKING_AT_ONCE) as pool:
        opened = set(pool.map(lambda _: ask(), range(_ASKING_AT_ONCE)))

    assert opening is not None
    assert opening.daemon
    opening.join(60)
    assert opened == {id(worker.models)}
    worker.models.close()


def test_a_worker_without_a_configured_model_opens_none(our_settings: Settings, engine: Engine) -> None:
    assert worker_of(our_settings, engine).open_early() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queue", "pool", "opens"),
    [("judge", "threads", True), ("arm.coder", "prefork", True), ("arm.guardian", "threads", False)],
)
@pytest.mark.usefixtures("our_settings")
def test_a_ready_worker_opens_its_models_before_any_work(
    fake: FakeLLM, tmp_path: Path, queue: str, pool: str, opens: bool
) -> None:
    environ = {"OPENAI_BASE_URL": fake.openai_url, "LLM_CHAIN": "openai:fake-model", "LOG_LEVEL": "info"}
    log = tmp_path / "worker.log"

    with worker_on(queue, pool, environ, log):
        wanted = "models.opened" if opens else "ready."
        wait_until(lambda: wanted in log.read_text(), 90, f"{wanted} in the log: {log}", every=0.2)

    assert ("models.opened" in log.read_text()) is opens
    assert fake.received == []


@contextmanager
def worker_on(queue: str, pool: str, environ: dict[str, str], log: Path) -> Iterator[None]:
    """Run a worker on one queue."""
    command = ["-A", "workers", "worker", "-Q", queue, "-P", pool, "-c", "1", "-n", f"{queue}@early"]
    with log.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "celery", *command, "--without-mingle", "--without-gossip"],
            cwd=_ROOT,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)
