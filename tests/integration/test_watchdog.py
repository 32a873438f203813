"""A worker whose interpreter hangs is killed from outside; its work and all other work continues."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from orchestrator.bootstrap import WorkerProcess
from orchestrator.memory.hints import Hints
from tests.integration.kit import Engineer
from tests.waiting import wait_until
from workers.runtime import process
from workers.runtime.watchdog import Watchdog
from workers.sweeper import Sweeper
from workers.tasks import app

ROOT = Path(__file__).parents[2]
LEASES = {"LEASE_SECONDS": "3", "HEARTBEAT_SECONDS": "1", "SWEEP_SECONDS": "0.2", "WATCHDOG_SECONDS": "6"}
SILENT_SECONDS = 3.0


def collect(name: str, values: Any) -> dict[str, Any]:
    return {
        "id": name,
        "arm": "retriever",
        "action": "collect",
        "inputs": {"values": values},
        "depends_on": [],
    }


@contextmanager
def kept_running(pool: str, log: Path) -> Iterator[list[int]]:
    """Run a worker and restart it when it ends, as `octollm up` does; yields the list of its exit codes."""
    command = ["-A", "tests.integration.stuck_app", "worker", "-Q", "arm.retriever", "-P", pool, "-c", "2"]
    stopping, codes, running = threading.Event(), list[int](), list[subprocess.Popen[bytes]]()

    def keep(output: Any) -> None:
        while not stopping.is_set():
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", *command, "-n", f"stuck-{pool}@%h", "--without-mingle"],
                cwd=ROOT,
                env={**os.environ, **LEASES, "ALIVE_FILE": str(log.with_name("worker.alive"))},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            running.append(worker)
            codes.append(worker.wait())

    with log.open("wb") as output:
        thread = threading.Thread(target=keep, args=(output,))
        thread.start()
        try:
            yield codes
        finally:
            stopping.set()
            os.killpg(running[-1].pid, signal.SIGKILL)
            thread.join()


@contextmanager
def swept(engineer: Engineer, redis_url: str, alive_file: Path) -> Iterator[None]:
    """Sweep as the sweeper process does."""
    process.start(app, service="tests")
    settings = replace(engineer.settings, lease_seconds=3.0, heartbeat_seconds=1.0, alive_file=alive_file)
    worker = WorkerProcess(settings, engineer.engine, Hints(redis_url), app, owner="sweeper")
    stopping = threading.Event()
    with redis.Redis.from_url(redis_url) as broker:
        sweeper = Sweeper(worker, broker)

        def sweep() -> None:
            while not stopping.wait(0.2):
                sweeper.tick()

        thread = threading.Thread(target=sweep)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
def test_a_hung_worker_is_killed_and_every_task_s_step_is_done(
    pool: str, engineer: Engineer, redis_url: str, tmp_path: Path
) -> None:
    log, held = tmp_path / "worker.log", tmp_path / "held"

    with swept(engineer, redis_url, tmp_path / "sweeper.alive"), kept_running(pool, log) as codes:
        evil = engineer.start(collect("a", {"hold": str(held)}))
        engineer.ask("UPDATE steps SET due = now() WHERE state = 'queued'")
        wait_until(held.exists, 60, f"the evil step to begin; see {log}", every=0.2)
        others = [engineer.start(collect("a", number)) for number in range(3)]
        engineer.ask("UPDATE steps SET due = now() WHERE state = 'queued'")

        wait_until(
            lambda: all(engineer.row(task_id, "a")["state"] == "done" for task_id in (evil, *others)),
            90,
            f"all steps to be done; see {log}",
            every=0.2,
        )
        wait_until(
            lambda: b'"event": "watchdog.killed"' in log.read_bytes(), 60, f"the kill; see {log}", every=0.2
        )

    assert engineer.row(evil, "a")["kills"] >= 1
    # a thread pool ends with its whole worker, a prefork pool loses one child only
    assert codes[:-1] == ([-signal.SIGKILL] if pool == "threads" else [])
    assert {path.name for path in tmp_path.glob("*.alive")} == {"worker.alive", "sweeper.alive"}


def exit_code_of_watched(seconds: float, *, then: str) -> int:
    """Start a watched process that runs `then` after its first heartbeat; return its exit code."""
    program = (
        "import ctypes, os, signal, subprocess, sys, threading, time\n"
        "from workers.runtime.watchdog import Watchdog\n"
        f"watchdog = Watchdog({seconds})\n"
        "watchdog.start()\n"
        "watchdog.beat()\n"
        f"{then}\n"
    )
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=60).returncode


@pytest.mark.slow
def test_a_process_that_holds_the_interpreter_lock_is_killed_unless_the_watchdog_is_off() -> None:
    assert exit_code_of_watched(SILENT_SECONDS, then="ctypes.PyDLL(None).sleep(60)") == -signal.SIGKILL
    assert exit_code_of_watched(0, then="ctypes.PyDLL(None).sleep(4)") == 0


@pytest.mark.slow
def test_a_process_stopped_by_a_signal_is_not_killed() -> None:
    # a helper process continues it, as a terminal or the chaos tests of bench/ would
    stop = (
        "subprocess.Popen(['sh', '-c', f'sleep 5; kill -CONT {os.getpid()}'])\n"
        "os.kill(os.getpid(), signal.SIGSTOP)\n"
        "time.sleep(1)"
    )

    assert exit_code_of_watched(SILENT_SECONDS, then=stop) == 0


@pytest.mark.slow
def test_silence_while_the_watcher_was_stopped_does_not_count() -> None:
    # both stop, and the watcher continues first
    stop = (
        "own, watcher = os.getpid(), watchdog._watcher.pid\n"
        "subprocess.Popen(['sh', '-c', f'sleep 5; kill -CONT {watcher}; sleep 0.2; kill -CONT {own}'])\n"
        "os.kill(watcher, signal.SIGSTOP)\n"
        "os.kill(own, signal.SIGSTOP)\n"
        "time.sleep(1)"
    )

    assert exit_code_of_watched(SILENT_SECONDS, then=stop) == 0


def test_a_watcher_ends_when_its_last_watched_process_ends() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        watchdog = Watchdog(30)
        watchdog.start()
        watchdog.beat()
        os.write(write, str(watchdog._watcher.pid if watchdog._watcher else 0).encode())
        os._exit(0)
    os.waitpid(child, 0)

    watcher = int(os.read(read, 20))

    assert watcher
    wait_until(lambda: not Path(f"/proc/{watcher}").exists(), 20, "the watcher to end")
