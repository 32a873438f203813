"""A drill: release 0.1 is replaced by this one, process by process, while tasks run.

The old release's code is `tests/releases/0.1.tar.xz`, because clones of CI are shallow. It was made by `git archive
46012d32 LICENSE api orchestrator workers migrations celeryconfig.py Procfile | xz -9e`. The figures are in
docs/operations.md: `pytest -s -m slow tests/acceptance/test_rolling_upgrade.py` prints them.
"""

import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.chord.database import open_engine, statement
from orchestrator.devserver import servers
from orchestrator.devserver.child_process import Process, free_port, launch, tail
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.environment import environment
from orchestrator.devserver.service import PROCFILE, read_procfile
from orchestrator.memory import pools
from orchestrator.models import signing_key
from tests.acceptance.audit import violations_of
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref, wait
from tests.waiting import timed, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RECORDED = Path(__file__).parents[1] / "releases" / "0.1.tar.xz"
ARMS = ("executor", "retriever", "coder", "guardian")
ADDED = ("writer",)
"""Arms that release 0.1 does not have: they are there before a planner sends them steps."""
KINDS = ("web", "planner", *ARMS, "judge", "sweeper")
STOP_SECONDS = 35
LEASE_SECONDS = 15
HISTORY = 4000
"""Tasks that ended long ago, with ten steps and thirty events each, which the migration must not be slowed by."""
PLAN = {
    "steps": [
        wait("a", 0.4),
        collect("b", [ref("a", "/seconds")], "a"),
        wait("c", 0.4, "a"),
        wait("d", 0, "c"),
    ]
}
_AWAY = (urllib.error.URLError, HTTPException, OSError)


@dataclass
class Release:
    """The code of one release and the processes that run it."""

    place: Path
    environ: Mapping[str, str]
    reaper: ChildReaper
    running: dict[str, Process] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        """Run its `octollm` and return the output."""
        code = f"from orchestrator.cli.main import main; main({list(arguments)!r})"
        ran = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.place,
            env=self._environ(),
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def start(self, *kinds: str, **more: str) -> None:
        """Start a process of each kind by its own Procfile."""
        commands = read_procfile(self.place / "Procfile")
        for kind in kinds:
            self.running[kind] = launch(
                ["/bin/sh", "-c", commands[kind]],
                environ={**self._environ(), **more},
                log=self._log(kind),
                reaper=self.reaper,
                orphan_signal=signal.SIGKILL,
                cwd=self.place,
            )

    def stop(self, *kinds: str) -> float:
        """Send SIGTERM to the processes of these kinds and wait for their end, as a supervisor does; return seconds."""
        began = time.monotonic()
        stopped = {kind: self.running.pop(kind) for kind in kinds}
        for process in stopped.values():
            process.send(signal.SIGTERM)
        for kind, process in stopped.items():
            assert process.wait(STOP_SECONDS), (
                f"{kind} of {self.place.name} does not stop: {tail(self._log(kind))}"
            )
        return time.monotonic() - began

    def kill(self) -> None:
        """Kill what still runs."""
        for process in self.running.values():
            process.kill()
            process.wait(5)

    def _environ(self) -> dict[str, str]:
        return {**self.environ, "PYTHONPATH": str(self.place)}

    def _log(self, kind: str) -> Path:
        return Path(self.environ["OCTOLLM_HOME"]) / "log" / f"{self.place.name}.{kind}.log"


class Load(threading.Thread):
    """A client that keeps six tasks open; it repeats a submission, with its key, until it is answered."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.accepted: list[str] = []
        self.slowest = 0.0
        self.failure: BaseException | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        """Submit until stopped."""
        open_tasks: list[str] = []
        try:
            while not self._stopped.wait(0.05):
                open_tasks = [task_id for task_id in open_tasks if not self._has_ended(task_id)]
                if len(open_tasks) < 6:
                    open_tasks.append(self._submit())
        except BaseException as error:
            self.failure = error
            raise

    def stop(self) -> None:
        """Stop submitting; raises what went wrong."""
        self._stopped.set()
        self.join(60)
        if self.failure:
            raise self.failure

    def _submit(self) -> str:
        key = {"Idempotency-Key": f"upgrade-{len(self.accepted)}"}
        began = time.monotonic()
        while True:
            try:
                answer = self.client.call("POST", "/v1/tasks", {"goal": "do it", "plan": PLAN}, headers=key)
            except _AWAY:
                continue
            if answer.status in (200, 202):
                break
            assert answer.status == 503, answer
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.accepted.append(str(answer.body["task_id"]))
        return self.accepted[-1]

    def _has_ended(self, task_id: str) -> bool:
        try:
            answer = self.client.call("GET", f"/v1/tasks/{task_id}")
        except _AWAY:
            return False
        assert answer.status in (200, 503), answer
        return answer.status == 200 and answer.body["status"] in ("completed", "failed", "cancelled")


@dataclass
class Machine:
    """Both releases on the same servers, with a client's load."""

    old: Release
    new: Release
    database_url: str
    load: Load
    environ: Mapping[str, str]

    def client(self, port: int) -> Client:
        """Return a client of the API on that port."""
        signing = settings.load(dict(self.environ))
        token = credential.sign_token(signing, tenant="acme", key_id="tests", scopes=SCOPES, ttl=3600)
        return Client(f"http://127.0.0.1:{port}", token)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Release 0.1 at work, with a long history in its tables."""
    with tempfile.TemporaryDirectory(prefix="octollm-upgrade-") as folder, ExitStack() as ending:
        home = Path(folder)
        up = ending.enter_context(servers.start(home, durable=False, environ={}))
        reaper = ChildReaper()
        ending.callback(reaper.close)
        environ = _environ(home, up.database_url, up.redis_url)
        with tarfile.open(RECORDED) as recorded:
            recorded.extractall(home / "old", filter="data")
        old = Release(home / "old", environ, reaper)
        new = Release(PROCFILE.parent, environ, reaper)
        for release in (old, new):
            ending.callback(release.kill)
        old.run("migrate")
        _write_history(up.database_url)
        port = free_port()
        old.start(*KINDS, PORT=str(port))
        made = Machine(old, new, up.database_url, Load(Client("", "")), environ)
        client = made.client(port)
        made.load.client = client
        wait_until(lambda: _is_ready(client), 90, "release 0.1 to be ready", every=0.2)
        made.load.start()
        yield made


def test_tasks_run_on_while_each_process_is_replaced(machine: Machine) -> None:
    """The order of docs/how-to/upgrade.md: migrate, sweeper and arms, judges and planners, API."""
    old, new, load = machine.old, machine.new, machine.load
    seconds: dict[str, float] = {}
    wait_until(lambda: len(load.accepted) > 8, 60, "tasks of the old release")

    with timed(seconds, "migrate"):
        new.run("migrate")
    during, load.slowest = load.slowest, 0.0
    _wait_for_more(load, 6)
    with timed(seconds, "sweeper and arms"):
        _replace(machine, ("sweeper", *ARMS), added=ADDED)
    _wait_for_more(load, 6)
    with timed(seconds, "judge and planner"):
        _replace(machine, ("judge", "planner"))
    _wait_for_more(load, 6)
    port = free_port()
    new.start("web", PORT=str(port))
    client = machine.client(port)
    wait_until(lambda: _is_ready(client), 60, "the new API", every=0.1)
    load.client = client
    seconds["stop web"] = old.stop("web")
    _wait_for_more(load, 6)
    load.stop()

    ends = {task_id: client.end_of(task_id)["status"] for task_id in load.accepted}
    assert set(ends.values()) == {"completed"}, ends
    engine = open_engine(machine.database_url, pool_size=2)
    with statement(engine) as conn:
        conn.exec_driver_sql("SET session_replication_role = replica")
        for table in ("tasks", "steps", "events"):
            conn.exec_driver_sql(
                f"DELETE FROM {table} WHERE {'id' if table == 'tasks' else 'task_id'} LIKE 'task_000000%%'"
            )
        conn.exec_driver_sql("RESET session_replication_role")
        again = conn.exec_driver_sql("SELECT count(*) FROM steps WHERE attempt > 1").scalar_one()
    violations = violations_of(engine, load.accepted, lease_seconds=LEASE_SECONDS)
    engine.dispose()
    assert (violations, again) == ([], 0)
    parts = ", ".join(f"{what} {taken:.2f} s" for what, taken in seconds.items())
    sys.stdout.write(
        f"\nupgrade drill: {parts}; {len(ends)} tasks; slowest submission {during:.2f} s until the migration, "
        f"{load.slowest:.2f} s afterwards\n"
    )


def _environ(home: Path, database_url: str, redis_url: str) -> dict[str, str]:
    key = signing_key.new_private_key()
    (home / "metrics").mkdir()
    return environment(
        {
            "OCTOLLM_HOME": str(home),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            # release 0.1 knew no other secret
            "JWT_SECRET": "a secret of the drill that is long enough for HS256",
            "PERMIT_PRIVATE_KEY": key,
            "PERMIT_PUBLIC_KEY": signing_key.public_key_of(key),
            "RATE_LIMIT": "1000000/minute",
            "LOG_LEVEL": "warning",
        }
    )


def _write_history(database_url: str) -> None:
    """Write what the old release would have left of earlier work."""
    engine = open_engine(database_url, pool_size=1)
    with statement(engine) as conn:
        conn.exec_driver_sql(
            """
            INSERT INTO tasks (id, tenant, priority, contract, status, phase, round, deadline_at, finished_at)
            SELECT 'task_' || lpad(n::text, 16, '0'), 'history', 'medium', '{"goal": "g", "attachments": []}',
                'completed', 'done', 1, now(), now()
            FROM generate_series(1, %(tasks)s) n;
            INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, chord_id, state, attempt, result,
                finished_at)
            SELECT t.id || n, t.id, 1, 'step', 's' || n, 'retriever', 'arm.retriever', 6, 'chord', 'done', 1,
                '{"output": {"summary": "done"}}', now()
            FROM tasks t, generate_series(1, 10) n;
            INSERT INTO events (task_id, seq, type, payload)
            SELECT t.id, n, 'step.completed', '{}' FROM tasks t, generate_series(1, 30) n;
            """,
            {"tasks": HISTORY},
        )
    engine.dispose()


def _replace(machine: Machine, kinds: Sequence[str], *, added: Sequence[str] = ()) -> None:
    """Start the new processes beside the old ones, wait until they are there, stop the old ones."""
    engine = open_engine(machine.database_url, pool_size=1)
    there = _workers(engine)
    machine.new.start(*kinds, *added)
    count = len(there) + len({*kinds, *added} - {"sweeper"})
    wait_until(lambda: len(_workers(engine)) == count, 60, f"the new {kinds}", every=0.1)
    engine.dispose()
    machine.old.stop(*kinds)


def _workers(engine: Engine) -> list[str]:
    with statement(engine) as conn:
        return [pool.node for pool in pools.alive(conn)]


def _wait_for_more(load: Load, count: int) -> None:
    wanted = len(load.accepted) + count
    wait_until(lambda: load.failure or len(load.accepted) >= wanted, 60, "more tasks to be accepted")
    if load.failure:
        raise load.failure


def _is_ready(client: Client) -> bool:
    try:
        return client.call("GET", "/ready").status == 200
    except _AWAY:
        return False
