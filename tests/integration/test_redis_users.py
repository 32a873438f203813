"""The users of deploy/redis/users.acl: what each may not do, and that a worker can run as its user."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError, RedisError

from orchestrator import bootstrap
from orchestrator.devserver.valkey import Valkey
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from orchestrator.process.process_kind import KINDS
from orchestrator.settings import Settings
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.waiting import wait_until

ACL = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"
USERS = [line.split() for line in ACL.read_text().splitlines()]
QUEUES = {
    "planner": "planner",
    "judge": "judge",
    "retriever": "arm.retriever",
    "writer": "arm.writer",
    "coder": "arm.coder",
    "executor": "arm.executor",
    "guardian": "arm.guardian",
    # an operator puts the queue of the arm that the process serves in its place
    "arms": "arm.CHANGE_ME",
    "remote": "arm.remote",
    "webhook": "webhook",
}
NOBODY_MAY = (
    "KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET maxmemory 1", "ACL LIST",
    "ACL SETUSER x on",    "CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR", "SHUTDOWN", "MODULE LIST",
    "REPLICAOF no one", "SAVE",
    "SORT planner", "DUMP planner", "RENAME planner x", "COPY planner x", "LRANGE planner 0 -1",
    "GET elsewhere", "SET elsewhere x", "SUBSCRIBE elsewhere", "PUBLISH elsewhere x", "SCRIPT FLUSH",
    "FUNCTION LIST",
)  # fmt: skip
# what only these may do
SOME_MAY = {
    "GETDEL octollm:ticket:x": {"web"},
    "SET octollm:ticket:x y": {"web"},
    "GET octollm:rate:x": {"web"},
    "GET octollm:broker-epoch": {"sweeper"},
    "GET octollm:cache:x": {
        "web",
        "planner",
        "judge",
        "retriever",
        "writer",
        "coder",
        "executor",
        "guardian",
        "arms",
        "remote",
    },
    "HGET octollm:llm:x y": {"planner", "judge", "retriever", "writer", "coder", "arms", "remote"},
    "HGET unacked x": {*QUEUES, "flower"},
    "LLEN arm.coder": {"web", "sweeper", "flower", *QUEUES} - {"webhook"},
    "LPUSH arm.coder x": {"web", "sweeper", *QUEUES} - {"webhook"},
    **{f"RPOP {queue}": {kind} for kind, queue in QUEUES.items()},
    **{f"BRPOP {queue} 0.01": {kind} for kind, queue in QUEUES.items()},
}

Address = Callable[[str], str]


@pytest.fixture
def address(own_redis: Valkey) -> Address:
    """Returns the server's URL for a kind of process, with the users loaded."""
    with redis.Redis.from_url(own_redis.url) as admin:
        for _, name, *rules in USERS:
            if name != "default":
                admin.execute_command("ACL", "SETUSER", name, *rules)
    host = own_redis.url.rpartition("@")[2]
    return lambda kind: f"redis://octollm-{kind}:CHANGE_ME_{kind.upper()}@{host}"


def may(client: redis.Redis, command: str) -> bool:
    try:
        client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return False
    except RedisError:
        # allowed: it fails only because its key is missing
        return True
    return True


def test_the_file_names_each_kind_the_operator_and_nobody_else() -> None:
    assert [line[0] for line in USERS] == ["user"] * len(USERS)
    named = [line[1] for line in USERS]
    assert sorted(named) == sorted(["default", "octollm-operator", *(f"octollm-{kind}" for kind in KINDS)])
    assert USERS[0][2:] == ["off"]
    assert all(re.fullmatch(r">CHANGE_ME_[A-Z]+", line[3]) for line in USERS[1:])


def test_no_kind_may_run_commands_that_it_does_not_need(address: Address) -> None:
    for kind in KINDS:
        with redis.Redis.from_url(address(kind), socket_timeout=5) as client:
            assert client.ping()
            assert [command for command in NOBODY_MAY if may(client, command)] == [], kind
            allowed = {command for command in SOME_MAY if may(client, command)}
        assert allowed == {command for command, kinds in SOME_MAY.items() if kind in kinds}, kind


def test_a_worker_works_as_its_own_user(
    our_settings: Settings, engineer: Engineer, address: Address, own_redis: Valkey, tmp_path: Path
) -> None:
    # as in the Procfile: mingle and gossip would need queues of remote control
    alone = ["--without-mingle", "--without-gossip"]
    planner = ["-m", "celery", "-A", "workers", "worker", "-Q", "planner", "-P", "threads", "-c", "1", *alone]
    orchestrator = bootstrap.for_api(replace(our_settings, redis_url=address("web")))
    contract = Contract(goal="do it", plan={"steps": [wait_step("a")]})
    task_id = orchestrator.submit(Caller(TENANT), contract).task_id
    done = "SELECT id FROM steps WHERE name = '$plan' AND state = 'done' AND task_id = %(id)s"

    with (tmp_path / "worker.log").open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, *planner],
            env={**os.environ, "REDIS_URL": address("planner")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: bool(engineer.ask(done, id=task_id)), 40, "a plan", every=0.1)
        finally:
            worker.terminate()
            worker.wait()

    with redis.Redis.from_url(own_redis.url) as admin:
        assert admin.acl_log() == []
