"""Flower, started by the Procfile's line, shows steps by arm and action, and a failed step as a failure."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.bootstrap import for_api
from orchestrator.devserver.child_process import free_port
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.environment import environment
from orchestrator.devserver.service import Service, read_procfile
from orchestrator.memory import tasks
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import Caller
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.task_contract import Contract
from orchestrator.orchestrator import Orchestrator
from tests.acceptance.plans import verify, wait
from tests.waiting import wait_until

TENANT = "acme"
PASSWORD = "watching:everything"
FAILING = verify("wrong", 3, {"pointer": "", "equals": 4}, depends_on=["a"])


class Watched:
    """A worker of every queue that the test needs, and Flower."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self.log = folder / "worker.log"
        environ = environment(
            {
                "WORKER_FLAGS": "-E",
                "FLOWER_PORT": str(self._port),
                "FLOWER_BASIC_AUTH": PASSWORD,
                "LOG_LEVEL": "info",
            }
        )
        lines = read_procfile()
        worker = lines["executor"].replace("-Q arm.executor", "-Q arm.executor,planner,judge")
        self._reaper = ChildReaper()
        self._programs = [
            Service("executor.1", worker, environ=environ, log=self.log, reaper=self._reaper),
            Service(
                "flower.1", lines["flower"], environ=environ, log=folder / "flower.log", reaper=self._reaper
            ),
        ]

    def start(self) -> None:
        for program in self._programs:
            program.start()
        wait_until(self.is_up, 60, "Flower and the worker to be up", every=0.2)

    def stop(self) -> None:
        for program in self._programs:
            program.ask_to_stop()
        for program in self._programs:
            wait_until(program.is_stopped, 30, f"{program.name} to stop")
        self._reaper.close()

    def is_up(self) -> bool:
        try:
            return "executor.1" in self.read("/workers?json=1")
        except OSError:
            return False

    def read(self, path: str) -> str:
        asked = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}")
        asked.add_header("Authorization", f"Basic {base64.b64encode(PASSWORD.encode()).decode()}")
        with urllib.request.urlopen(asked, timeout=20) as reply:
            return str(reply.read().decode())

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return Flower's tasks by the names that it shows."""
        return {task["name"]: task for task in json.loads(self.read("/api/tasks")).values()}


@pytest.fixture
def watched(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Watched]:
    running = Watched(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def orchestrator(postgres_url: str, redis_url: str) -> Orchestrator:
    return for_api(settings.load())


def run(orchestrator: Orchestrator, *plan: dict[str, Any]) -> str:
    """Run a task to its end and return its status."""
    submitted = orchestrator.submit(
        Caller(TENANT),
        Contract(goal="do it", plan={"steps": list(plan)}),
    )

    def ended() -> str | None:
        with tenant_statement(orchestrator.engine, TENANT) as conn:
            task = tasks.find_task(conn, TENANT, submitted.task_id)
        return task.status if task and TaskStatus(task.status).is_final() else None

    return str(wait_until(ended, 60, "the task's end", every=0.1))


def test_flower_shows_arms_and_actions_and_calls_a_failed_step_failed(
    watched: Watched, orchestrator: Orchestrator
) -> None:
    assert run(orchestrator, wait("a"), FAILING) == "failed"

    expected = {
        "planner.plan": "SUCCESS",
        "executor.wait": "SUCCESS",
        "judge.verify": "FAILURE",
        "judge.round": "SUCCESS",
    }
    wait_until(
        lambda: {name: task["state"] for name, task in watched.tasks().items()} == expected,
        30,
        "Flower to have heard of everything",
        every=0.2,
    )
    failed = watched.tasks()["judge.verify"]
    assert "'wrong'" in failed["args"]
    assert "verification_failed" in failed["exception"]
    page = watched.read(f"/task/{failed['uuid']}")
    assert "judge.verify" in page
    assert "FAILURE" in page
    told = watched.log.read_text()
    assert "step.failed" in told
    assert "Traceback" not in told
