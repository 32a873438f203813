"""Two hosts on one machine: network namespaces with a link between them that can be cut. Run it inside a new one.

    unshare --net python -m tests.acceptance.second_host FOLDER

The first host has the API, Postgres, Redis and every kind of worker; the second one has workers and a clock of its own.
It prints what happened as JSON.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from orchestrator.chord.database import open_engine
from orchestrator.devserver import binaries
from orchestrator.devserver.child_process import Process, launch
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres import Postgres
from orchestrator.devserver.service import PROCFILE, read_procfile
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.devserver.valkey import Valkey
from tests.acceptance.audit import violations_of
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.plans import wait
from tests.acceptance.proc import parent_of
from tests.ledger import ARMS_PATH, Ledger, append
from tests.waiting import wait_until

NEAR, FAR, NETWORK = "10.77.0.1", "10.77.0.2", "10.77.0.0/24"
LEASE_SECONDS = 6
STEP_SECONDS = 5
CLOCK = "import time\nreal = time.time\ntime.time = lambda: real() - 3600\n"
"""What the processes of the second host run first. Timers go by the monotonic clock, which is the machine's."""
SLOTS = {"near": 4, "far": 2}


class ReachablePostgres(Postgres):
    """A private Postgres that the other host may reach."""

    def _settings(self, port: int) -> Iterator[str]:
        yield from super()._settings(port)
        yield from ("-c", "listen_addresses=*")

    def _make(self) -> None:
        super()._make()
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK} scram-sha-256\n")


@dataclass
class Link:
    """The link between the two namespaces; `holder` is a process of the second one."""

    holder: int

    @classmethod
    def make(cls, ending: ExitStack) -> "Link":
        """Make the second namespace and the link to it."""
        sleeper = subprocess.Popen(["unshare", "--net", "sleep", "300"])
        ending.callback(sleeper.wait)
        ending.callback(sleeper.kill)
        own = Path("/proc/self/ns/net").readlink()
        wait_until(lambda: Path(f"/proc/{sleeper.pid}/ns/net").readlink() != own, 10, "the second namespace")
        link = cls(sleeper.pid)
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(sleeper.pid))
        _run("ip", "address", "add", f"{NEAR}/24", "dev", "near")
        _run("ip", "link", "set", "near", "up")
        _run(*link.inside("ip", "address", "add", f"{FAR}/24", "dev", "far"))
        _run(*link.inside("ip", "link", "set", "far", "up"))
        _run(*link.inside("ip", "link", "set", "lo", "up"))
        return link

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs `command` on the second host."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", *command]

    def cut(self) -> None:
        """Cut the link: what either side sends is lost without a word."""
        _run("ip", "link", "set", "near", "down")

    def mend(self) -> None:
        """Mend the link."""
        _run("ip", "link", "set", "near", "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=20)


@dataclass
class Drill:
    """Both hosts at work."""

    link: Link
    stack: Stack
    client: Client
    engine: Engine
    ledger: Ledger
    far: set[int]
    tasks: list[str] = field(default_factory=list)

    def submit(self, *steps: dict[str, Any]) -> str:
        """Submit a task and remember it."""
        self.tasks.append(self.client.submit(plan={"steps": list(steps)}))
        return self.tasks[-1]

    def rows(self, task_ids: list[str]) -> list[dict[str, Any]]:
        """Return the steps of these tasks."""
        sql = "SELECT * FROM steps WHERE kind = 'step' AND task_id = ANY(%(ids)s)"
        with self.engine.connect() as conn:
            return [dict(row) for row in conn.exec_driver_sql(sql, {"ids": task_ids}).mappings()]

    def are(self, task_ids: list[str], state: str) -> bool:
        """Tell whether each of the tasks has its steps, and all are in this state."""
        rows = self.rows(task_ids)
        return len(rows) == len(task_ids) and {row["state"] for row in rows} == {state}

    def ran_far(self, row: dict[str, Any]) -> bool:
        """Tell whether the attempt's process is a worker of the second host or a child of one."""
        pid = int(row["owner"].rpartition(":")[2])
        return bool({pid, parent_of(pid)} & self.far)


def main(folder: Path) -> None:
    """Run the drill and print what happened."""
    with ExitStack() as ending:
        drill = _start(folder, ending)
        sys.stdout.write(json.dumps(_drill(drill)) + "\n")


def _start(folder: Path, ending: ExitStack) -> Drill:
    link = Link.make(ending)
    reaper = ChildReaper()
    ending.callback(reaper.close)
    postgres = ReachablePostgres(folder, binaries.postgres(), reaper=reaper, durable=False)
    valkey = Valkey(folder, binaries.valkey()[0], reaper=reaper, durable=False)
    for server in (postgres, valkey):
        server.start()
        ending.callback(server.stop)
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("bind", f"127.0.0.1 {NEAR}")
    ledger = Ledger(folder / "ledger")
    environ = {
        "DATABASE_URL": make_url(postgres.url).set(host=NEAR).render_as_string(hide_password=False),
        "REDIS_URL": valkey.url.replace("127.0.0.1", NEAR),
        "RATE_LIMIT": "1000000/minute",
        "LOG_LEVEL": "info",
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "HEARTBEAT_SECONDS": "1",
        "GRACE_SECONDS": "1",
        "ARMS_PATH": str(ARMS_PATH),
        "OCTOLLM_LEDGER": str(ledger.path),
    }
    stack = Stack(
        folder / "stack", port=0, environ=environ, processes={**ONE_OF_EACH, "executor": SLOTS["near"] // 2}
    )
    ending.enter_context(stack)
    far = _start_far(stack, link, folder / "far", reaper=reaper)
    ending.callback(_kill, far)
    engine = open_engine(postgres.url, pool_size=2)
    ending.callback(engine.dispose)
    drill = Drill(
        link, stack, client_of(stack, tenant="acme"), engine, ledger, {process.pid for process in far}
    )
    sql = "SELECT count(*) FROM pools WHERE node LIKE 'far%%'"
    wait_until(lambda: _scalar(engine, sql) == 2, 60, "the workers of the second host", every=0.1)
    return drill


def _start_far(stack: Stack, link: Link, home: Path, *, reaper: ChildReaper) -> list[Process]:
    """Start an executor and the ledger on the second host, whose clock is an hour behind.

    Return their main processes, which `nsenter` and the shell become.
    """
    (home / "metrics").mkdir(parents=True)
    (home / "sitecustomize.py").write_text(CLOCK)
    commands = read_procfile(PROCFILE)
    return [
        launch(
            link.inside("/bin/sh", "-c", commands[line]),
            environ={
                **stack.environ,
                "OCTOLLM_HOME": str(home),
                "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
                "HONCHO_PROCESS_NAME": f"far-{kind}",
                "ARMS": "ledger",
                "PYTHONPATH": str(home),
            },
            log=home / f"{kind}.log",
            reaper=reaper,
            orphan_signal=signal.SIGKILL,
            cwd=PROCFILE.parent,
        )
        for kind, line in (("executor", "executor"), ("ledger", "arms"))
    ]


def _kill(processes: list[Process]) -> None:
    """Kill the workers of the second host, which have nothing to do any more."""
    for process in processes:
        process.kill()
        process.wait(5)


def _scalar(engine: Engine, sql: str) -> Any:
    with engine.connect() as conn:
        return conn.exec_driver_sql(sql).scalar_one()


def _drill(drill: Drill) -> dict[str, Any]:
    """Cut the link while both hosts work, let the first one take over, and mend it."""
    write = drill.submit(append("write", seconds_after=STEP_SECONDS))
    long = [drill.submit(wait("long", STEP_SECONDS)) for _ in range(sum(SLOTS.values()))]
    wait_until(
        lambda: drill.are([*long, write], "running") and drill.ledger.lines(), 30, "all slots to be busy"
    )
    far = [row["id"] for row in drill.rows(long) if drill.ran_far(row)]
    drill.link.cut()
    cut_at = time.monotonic()

    def since() -> float:
        return round(time.monotonic() - cut_at, 2)

    meanwhile = [drill.submit(wait("meanwhile", 0.2)) for _ in range(4)]
    told: dict[str, Any] = {"on the second host": len(far)}

    def moved() -> bool:
        return all(row["attempt"] == 2 for row in drill.rows(long) if row["id"] in far)

    wait_until(moved, 60, "the leases to move")
    told["leases moved after"] = since()
    wait_until(lambda: drill.are(long, "done"), 60, "the long steps")
    told["long steps done after"] = since()
    wait_until(lambda: drill.are(meanwhile, "done"), 60, "the steps of the time without a link")
    told["steps submitted meanwhile done after"] = since()
    question = wait_until(lambda: drill.client.questions(write), 60, "a question about the write")[0]
    told["asked about the write after"] = since()
    drill.link.mend()
    mended_at = time.monotonic()
    wait_until(lambda: _ran_on_second_host(drill), 90, "the second host to work again")
    told["second host works again after"] = round(time.monotonic() - mended_at, 2)
    told["question"] = _settle(drill.client, question)
    told["ends"] = [drill.client.end_of(task_id)["status"] for task_id in drill.tasks]
    told["attempts"] = sorted(row["attempt"] for row in drill.rows(long))
    told["lines"] = len(drill.ledger.lines())
    log = (drill.stack.home.parent / "far" / "executor.log").read_text()
    told["late outcomes refused"] = log.count('"event": "chord.refused"')
    told["attempts stopped"] = log.count('"event": "lease.lost"')
    told["violations"] = [
        str(violation)
        for violation in violations_of(
            drill.engine, drill.tasks, effects=drill.ledger.lines(), lease_seconds=LEASE_SECONDS
        )
    ]
    return told


def _ran_on_second_host(drill: Drill) -> bool:
    """Submit steps for all slots and tell whether the second host ran one of them."""
    ids = [drill.submit(wait("again", 0.3)) for _ in range(sum(SLOTS.values()))]
    wait_until(partial(drill.are, ids, "done"), 60, "steps after the link was mended")
    return any(map(drill.ran_far, drill.rows(ids)))


def _settle(client: Client, question: dict[str, Any]) -> str:
    """Accept the write if it is still asked about: its line is there. Return what became of the question."""
    decision = {
        "decision": "accept",
        "proposal_hash": question["proposal_hash"],
        "answer": {"summary": "it is there", "key": "k"},
    }
    answer = client.call("POST", f"/v1/approvals/{question['approval_id']}/decision", decision)
    assert answer.status in (200, 409), answer
    return str(client.call("GET", f"/v1/approvals/{question['approval_id']}").body["state"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
