"""A drill: a backup is taken while tasks run, then the database and Redis are lost and restored elsewhere.

Its figures are in docs/operations.md: `pytest -s -m slow tests/acceptance/test_backup.py` prints them.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url

from orchestrator.auth.credential import SCOPES
from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver import binaries, servers
from orchestrator.devserver.environment import PERMIT_KEY_FILE
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.memory import keys, row_security
from orchestrator.settings_file import STACK_FILE
from tests.acceptance.audit import violations_of
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.plans import Step, collect, ref, wait
from tests.ledger import ARMS_PATH, Ledger, append, registered
from tests.waiting import timed, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEASE_SECONDS = 4
FILE = b"what a client uploaded\n" * 4000
GATE = {"ask": "Shall it go on?"}
DUMP, ROLES = "octollm.dump", "roles.sql"


@dataclass
class Before:
    """What the client knows from the time before the loss: task ids by what they are, keys, and the file's id."""

    tasks: dict[str, str] = field(default_factory=dict)
    lost: str = ""
    cursor: int = 0
    artifact: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Drill:
    """The restored stack, with what was before, and how long each part took."""

    stack: Stack
    before: Before
    ledger: Ledger
    seconds: dict[str, float]
    dumped: int

    @property
    def client(self) -> Client:
        """The client from before; its token is still valid, because the key that signed it was kept."""
        return client_of(self.stack, tenant="acme")

    def holder_of(self, key: str) -> Client:
        """Return a client with an API key from before."""
        return Client(self.stack.url, self.before.keys[key])


@pytest.fixture(scope="module")
def drill() -> Iterator[Drill]:
    """Run the drill once: work, back up, work on, lose everything, restore, start."""
    before, seconds = Before(), dict[str, float]()
    with (
        tempfile.TemporaryDirectory(prefix="octollm-backup-") as folder,
        registered("ledger"),
    ):
        place = Path(folder)
        ledger, kept = Ledger(place / "ledger"), place / "kept"
        kept.mkdir()
        with _stack(place / "old", ledger) as old:
            _work(old, before, ledger)
            engine = open_engine(old.database_url, pool_size=2)
            with timed(seconds, "back up"):
                _back_up(engine, kept, lambda conn: _is_the_moment(conn, before))
            _copy_secrets(old.home, kept)
            _work_on(old, before, ledger)
            engine.dispose()
        shutil.rmtree(place / "old")
        with timed(seconds, "restore"):
            _restore(kept, place / "new")
        _copy_secrets(kept, place / "new")
        began = time.monotonic()
        with _stack(place / "new", ledger) as new:
            seconds["start"] = time.monotonic() - began
            yield Drill(new, before, ledger, seconds, (kept / DUMP).stat().st_size)


def _stack(home: Path, ledger: Ledger) -> Stack:
    environ = {
        "DATABASE_URL": "",
        "REDIS_URL": "",
        "LOG_LEVEL": "warning",
        "RATE_LIMIT": "1000000/minute",
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "HEARTBEAT_SECONDS": "1",
        "GRACE_SECONDS": "1",
        "ARMS_PATH": str(ARMS_PATH),
        "OCTOLLM_LEDGER": str(ledger.path),
    }
    return Stack(home, port=0, environ=environ, durable=False, processes={**ONE_OF_EACH, "ledger": 1})


def _work(stack: Stack, before: Before, ledger: Ledger) -> None:
    """Submit tasks that are ended, running, waiting for a person and writing when the backup is taken."""
    client = client_of(stack, tenant="acme")
    engine = open_engine(stack.database_url, pool_size=1)
    with transaction(engine) as conn:
        for name in ("kept", "revoked"):
            record, text = keys.create(conn, tenant="acme", scopes=SCOPES, name=name, environment="live")
            before.keys |= {name: text, f"{name} id": record.id}
    engine.dispose()
    before.artifact = client.upload(FILE, filename="text.txt")

    def submit(name: str, *steps: Step) -> None:
        before.tasks[name] = client.submit(plan={"steps": list(steps)})

    submit("ended", append("write"), collect("after", [1], "write"))
    client.end_of(before.tasks["ended"])
    submit(
        "asked", collect("first", [1]), collect("then", [ref("first", "/values/0")], "first", approval=GATE)
    )
    submit("begun", append("write", seconds_after=60), collect("after", [1], "write"))
    wait_until(lambda: len(ledger.lines()) == 2, 60, "the effect that has begun")
    for number in range(6):
        submit(f"chain {number}", *_chain(8, 0.4))
    submit("later write", wait("first", 3), append("write", "first"))
    submit("later put", wait("first", 3), append("write", "first", action="put"))


def _chain(length: int, seconds: float) -> list[Step]:
    return [wait(f"s{n}", seconds, *([f"s{n - 1}"] if n else [])) for n in range(length)]


def _is_the_moment(conn: Connection, before: Before) -> bool:
    """Tell whether chains run, one write has begun and two have not, in the state that would be backed up."""
    sql = "SELECT task_id, name, state, effect_attempt FROM steps WHERE kind = 'step'"
    rows = {(row.task_id, row.name): row for row in conn.exec_driver_sql(sql)}

    def state(task: str, step: str) -> str | None:
        row = rows.get((before.tasks[task], step))
        return str(row.state) if row else None

    later = [state(task, "write") for task in ("later write", "later put")]
    assert "done" not in later, "the backup came too late"
    begun = rows[before.tasks["begun"], "write"]
    return (
        later == ["blocked", "blocked"]
        and (begun.state, begun.effect_attempt) == ("running", 1)
        and state("asked", "then") == "waiting"
        and state("chain 0", "s0") == "done"
    )


def _work_on(stack: Stack, before: Before, ledger: Ledger) -> None:
    """Do what the backup does not know: writes, a decision, a revoked key, one more task."""
    client = client_of(stack, tenant="acme")
    before.lost = client.run(plan={"steps": [wait("a")]})["task_id"]
    _decide(client, before.tasks["asked"], "approve")
    client.end_of(before.tasks["asked"])
    before.cursor = client.events(before.tasks["asked"])[-1]["seq"]
    revoked = client.call("DELETE", f"/v1/keys/{before.keys['revoked id']}")
    assert revoked.status == 200, revoked
    for task in ("later write", "later put"):
        client.end_of(before.tasks[task])
    before.written = _lines(stack, before, ledger)


def _lines(stack: Stack, before: Before, ledger: Ledger) -> dict[str, int]:
    """Return how many lines the write of each task has outside."""
    engine = open_engine(stack.database_url, pool_size=1)
    sql = "SELECT id, task_id FROM steps WHERE name = 'write'"
    with engine.connect() as conn:
        tasks = {row.id: row.task_id for row in conn.exec_driver_sql(sql)}
    engine.dispose()
    written = [tasks.get(line.key) for line in ledger.lines()]
    return {
        name: written.count(task_id) for name, task_id in before.tasks.items() if task_id in tasks.values()
    }


def _decide(client: Client, task_id: str, decision: str, **more: Any) -> None:
    """Answer, as a person, what the task asks."""
    (asked,) = wait_until(lambda: client.questions(task_id), 60, f"a question of {task_id}")
    client.decide(asked, decision, **more)


def _back_up(engine: Engine, kept: Path, is_the_moment: Callable[[Connection], bool]) -> None:
    """Dump the database and the roles as docs/operations.md says; the snapshot is one of the wanted moment."""
    url = engine.url
    with engine.connect() as conn:

        def snapshot() -> str:
            conn.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
            if is_the_moment(conn):
                return str(conn.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
            conn.exec_driver_sql("ROLLBACK")
            return ""

        taken = wait_until(snapshot, 30, "the moment of the backup")
        _postgres("pg_dump", "--format=custom", f"--snapshot={taken}", f"--file={kept / DUMP}", url=url)
        conn.exec_driver_sql("ROLLBACK")
    (kept / ROLES).write_text(_postgres("pg_dumpall", "--roles-only", "--no-role-passwords", url=url))


def _restore(kept: Path, home: Path) -> None:
    """Restore into a fresh cluster: first the roles, then the database."""
    with servers.start(home, durable=False, environ={}) as fresh:
        url = make_url(fresh.database_url)
        # without ON_ERROR_STOP: the role that initdb made is there already
        _postgres("psql", "--quiet", f"--file={kept / ROLES}", url=url)
        _postgres("pg_restore", "--exit-on-error", "--single-transaction", str(kept / DUMP), url=url)


def _postgres(program: str, *arguments: str, url: URL) -> str:
    """Run one of Postgres' client programs on a database and return its output."""
    database = url.set(drivername="postgresql").render_as_string(hide_password=False)
    path = binaries.postgres().directory / program
    ran = subprocess.run(
        [path, *arguments, "--dbname", database], check=False, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _copy_secrets(source: Path, target: Path) -> None:
    """Copy what is not in the database: what signs tokens, webhooks, cached results and permits."""
    for name in (STACK_FILE, PERMIT_KEY_FILE):
        shutil.copy(source / name, target / name)


def test_a_client_that_knows_more_than_the_backup_is_told(drill: Drill) -> None:
    """It would miss events: the restored task tells another story after the event that the backup ends with."""
    path = f"/v1/tasks/{drill.before.tasks['asked']}/events"

    later = drill.client.call("GET", f"{path}?after={drill.before.cursor}")
    again = drill.client.call("GET", f"{path}?after=0")

    assert (later.status, later.body["code"]) == (409, "cursor_ahead")
    assert later.body["details"]["last"] == again.body["next_after"] < drill.before.cursor


def test_what_came_after_the_backup_is_gone(drill: Drill) -> None:
    """A task that was submitted is not found; a key that was revoked is valid again."""

    assert drill.client.call("GET", f"/v1/tasks/{drill.before.lost}").status == 404
    assert drill.holder_of("revoked").call("POST", "/v1/auth/token").status == 200


def test_files_keys_and_rights_are_there(drill: Drill) -> None:
    """Files are in the database; the roles came first, so tenants are kept apart as before."""
    file = drill.client.call("GET", f"/v1/files/{drill.before.artifact}")
    engine = open_engine(drill.stack.database_url, pool_size=1)
    with engine.connect() as conn:
        standing = row_security.inspect(conn)
    engine.dispose()

    assert str(file.body).encode() == FILE
    assert drill.holder_of("kept").call("POST", "/v1/auth/token").status == 200
    assert standing.fault == ""


def test_every_task_of_the_backup_ends_and_none_counts_twice(drill: Drill) -> None:
    """What ran goes on after its lease; what a person decided after the backup is asked again.

    A write that had begun is asked about. One that happened after the backup happens again: the database can't know.
    """
    tasks, client = drill.before.tasks, drill.client
    began = time.monotonic()

    _decide(client, tasks["asked"], "approve")
    _decide(client, tasks["begun"], "accept", answer={"summary": "it is there", "key": "k"})
    ends = {name: client.end_of(task_id)["status"] for name, task_id in tasks.items()}
    drill.seconds["end"] = time.monotonic() - began

    assert set(ends.values()) == {"completed"}, ends
    assert _lines(drill.stack, drill.before, drill.ledger) == {
        "ended": 1, "begun": 1, "later write": 2, "later put": 2,
    }  # fmt: skip
    assert drill.before.written == {"ended": 1, "begun": 1, "later write": 1, "later put": 1}
    engine = open_engine(drill.stack.database_url, pool_size=1)
    violations = violations_of(
        engine, tasks.values(), effects=drill.ledger.lines(), lease_seconds=LEASE_SECONDS
    )
    engine.dispose()
    assert [violation.check for violation in violations] == ["effect_twice"], violations
    parts = ", ".join(f"{what} {taken:.2f} s" for what, taken in drill.seconds.items())
    sys.stdout.write(f"\nbackup drill: {parts}; {len(tasks)} tasks, {drill.dumped} bytes\n")
