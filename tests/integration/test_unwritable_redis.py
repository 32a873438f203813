"""Redis answers but takes no writes: workers wait as for a lost server, and every check names the fault."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from orchestrator import bootstrap
from orchestrator.cli import checks
from orchestrator.cli.checks import CheckStatus
from orchestrator.connections.redis_client import fault_of, open_client, try_write
from orchestrator.devserver.valkey import Valkey
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from orchestrator.orchestrator import Orchestrator
from orchestrator.settings import Settings
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until

Client = redis.Redis
PLANNER = ["-m", "celery", "-A", "workers", "worker", "-Q", "planner", "-P", "threads", "-c", "1"]


class Spoilt:
    """How to make a server refuse writes, how to repair it, and our description of the fault."""

    def __init__(
        self, spoil: Callable[[Client], object], mend: Callable[[Client], object], fault: str
    ) -> None:
        self.spoil, self.mend, self.fault = spoil, mend, fault


SPOILT = {
    "replica": Spoilt(
        lambda client: client.replicaof("127.0.0.1", "1"),
        lambda client: client.replicaof("NO", "ONE"),
        "it is read-only",
    ),
    "full": Spoilt(
        lambda client: client.config_set("maxmemory", "1"),
        lambda client: client.config_set("maxmemory", "0"),
        "its memory is full",
    ),
}


@pytest.fixture(params=SPOILT)
def spoilt(request: pytest.FixtureRequest) -> Spoilt:
    """One way in which a server takes no writes."""
    return SPOILT[request.param]


def test_the_fault_is_named_wherever_redis_is_examined(
    our_settings: Settings, own_redis: Valkey, spoilt: Spoilt
) -> None:
    client = open_client(own_redis.url)
    spoilt.spoil(client)

    with pytest.raises(redis.RedisError) as caught:
        try_write(client)
    found = list(checks.redis(replace(our_settings, redis_url=own_redis.url)))

    assert fault_of(caught.value).startswith(spoilt.fault)
    assert found[-1].status is CheckStatus.FAILURE
    assert found[-1].message.startswith(spoilt.fault)


@pytest.mark.parametrize(
    "name", ["replica", *(pytest.param(name, marks=pytest.mark.slow) for name in ("full", "frozen"))]
)
def test_a_worker_outlives_a_server_that_takes_no_writes(
    our_settings: Settings, engineer: Engineer, own_redis: Valkey, tmp_path: Path, name: str
) -> None:
    orchestrator = bootstrap.for_api(replace(our_settings, redis_url=own_redis.url))
    admin, log = open_client(own_redis.url), tmp_path / "worker.log"
    pid = int(admin.info("server")["process_id"])
    frozen = Spoilt(
        lambda _: os.kill(pid, signal.SIGSTOP),
        lambda _: os.kill(pid, signal.SIGCONT),
        "Timeout reading from socket",
    )
    spoilt = SPOILT.get(name, frozen)
    # taking a message writes nothing: on a full server the worker goes on, and only its own messages are refused
    noticed = (spoilt.fault, "chord.publish_failed", "BRPOP got no reply")

    def planned() -> int:
        return len(engineer.ask("SELECT id FROM steps WHERE name = '$plan' AND state = 'done'"))

    def plan_one_more() -> None:
        before = planned()
        wait_until(lambda: _submit(orchestrator) and planned() > before, 90, "the planner's work", every=0.5)

    with _planner(own_redis.url, log) as worker:
        plan_one_more()
        worker.send_signal(signal.SIGSTOP)
        _submit(orchestrator)
        spoilt.spoil(admin)
        try:
            worker.send_signal(signal.SIGCONT)
            wait_until(
                lambda: worker.poll() is not None or any(word in log.read_text() for word in noticed),
                60,
                "it to notice",
            )
        finally:
            spoilt.mend(admin)
        plan_one_more()

        assert worker.poll() is None
    assert "Unrecoverable" not in log.read_text()


@contextmanager
def _planner(redis_url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as written:
        worker = subprocess.Popen(
            [sys.executable, *PLANNER],
            env={**os.environ, "REDIS_URL": redis_url},
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        yield worker
    finally:
        worker.terminate()
        worker.wait()


def _submit(orchestrator: Orchestrator) -> str:
    return orchestrator.submit(
        Caller(TENANT),
        Contract(goal="do it", plan={"steps": [wait_step("a")]}),
    ).task_id
