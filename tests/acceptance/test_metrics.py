"""The metrics of every process reach a scrape when the Procfile's lines are started one by one, on two hosts."""

import os
import signal
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.support.chaos.victims import pool_children
from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.child_process import free_port
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.environment import environment
from orchestrator.devserver.service import Service, read_procfile
from tests.acceptance import web
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PLAN = {"steps": [wait("a"), wait("b")]}
ATTEMPTS = ("octollm_arm_invocations_total", "executor", "done")

Samples = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Hosts:
    """The API's host, and one that has the executor only; `executor` is its main process."""

    client: Client
    api: str
    executors: str
    executor: Service


@contextmanager
def _line(kind: str, environ: Mapping[str, str], *, folder: Path) -> Iterator[Service]:
    """Run one line of the Procfile for the block, as honcho or a unit of systemd would."""
    reaper = ChildReaper()
    log = folder / f"{kind}.log"
    service = Service(
        f"{kind}.1", read_procfile()[kind], environ=environment(environ), log=log, reaper=reaper
    )
    service.start()
    try:
        yield service
    finally:
        service.ask_to_stop()
        wait_until(service.is_stopped, 40, f"{kind} to stop")
        reaper.close()


@pytest.fixture(scope="module")
def hosts(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Two hosts, whose state directories are all that they do not share here."""
    folder = tmp_path_factory.mktemp("hosts")
    known = {"PROMETHEUS_MULTIPROC_DIR": "", "GRACE_SECONDS": "1", "LOG_LEVEL": "warning"}
    first = {**known, "OCTOLLM_HOME": str(folder / "first")}
    port = free_port()
    second = {**known, "OCTOLLM_HOME": str(folder / "second"), "METRICS_LISTEN": f"127.0.0.1:{port}"}
    with ExitStack() as running:
        address = running.enter_context(web.running(folder, first))
        for kind in ("planner", "judge", "sweeper"):
            running.enter_context(_line(kind, first, folder=folder))
        executor = running.enter_context(_line("executor", second, folder=folder))
        token = credential.sign_token(settings.load(), tenant="acme", key_id="tests", scopes=SCOPES)
        yield Hosts(Client(address, token), address, f"http://127.0.0.1:{port}", executor)


def _scrape(url: str) -> Samples:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_host_reports_its_own_processes_and_no_others(hosts: Hosts) -> None:
    task = hosts.client.run(plan=PLAN, timeout=90)
    wait_until(lambda: ("octollm_sweeper_last_run_timestamp_seconds",) in _scrape(hosts.api), 30, "a sweep")

    api, executors = _scrape(hosts.api), _scrape(hosts.executors)

    assert task["status"] == "completed", task
    # of the judge, of the planner, of gunicorn's processes
    assert api["octollm_verdicts_total", "passed"] == 1
    assert api["octollm_tasks_total", "medium", "completed"] == 1
    assert api["octollm_routing_seconds_count",] == 1
    assert api["flask_http_request_total", "POST", "202"] == 1
    assert api["octollm_workers", "executor"] == 1
    # of the children of a pool
    assert executors[ATTEMPTS] == 2
    assert ATTEMPTS not in api
    assert executors["octollm_verdicts_total", "passed"] == 0
    assert ("octollm_sweeper_last_run_timestamp_seconds",) not in executors


def test_a_pool_whose_children_are_killed_loses_no_counts(hosts: Hosts) -> None:
    before = _scrape(hosts.executors)[ATTEMPTS]
    assert hosts.executor.pid is not None
    children = pool_children(hosts.executor.pid)
    assert len(children) == 2
    for child in children:
        os.kill(child, signal.SIGKILL)

    task = hosts.client.run("do it again", plan=PLAN, timeout=90)

    assert task["status"] == "completed", task
    assert _scrape(hosts.executors)[ATTEMPTS] == before + 2
