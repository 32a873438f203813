"""How many statements, commits and Redis commands one whole task of eight steps and a judge costs, exactly.

One worker of one slot runs everything in turn, so that the numbers are the same each time. What processes do at rest
(heartbeats, health checks, waiting for a message) does not count. Redis' own statistics count the commands, also those
that a script calls.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from api.app import create_app
from api.middleware.audit import buffer_of
from api.streaming.hub import hub_of
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.devserver.valkey import Valkey
from orchestrator.lifecycle import backpressure
from orchestrator.models import signing_key
from orchestrator.settings import Settings
from orchestrator.settings_text import Rate
from tests.acceptance.plans import collect
from tests.integration.api.conftest import Caller
from tests.integration.kit import TENANT
from tests.waiting import wait_until

# Whoever changes what a task costs changes its number here; lower it when your work saves some.
COSTS = {
    "submission": {"statements": 1, "commits": 1, "redis commands": 5},
    "work": {"statements": 21, "commits": 21, "redis commands": 5},
    "status": {"statements": 2, "commits": 2, "redis commands": 4},
}
# 13 today; not exact, because hints are gathered for some milliseconds, and one that times out is sent again
MAX_HINTS = 16

_LOGINS = {"costs_door": ("octollm_api",), "costs_worker": ("octollm_rounds", "octollm_arm")}
_LINE = re.compile(r"^[^[\n]*\[(\d+)\] (?:(LOG):  (?:statement|execute [^:]*): |(ERROR):)", re.MULTILINE)
# a new line of the log begins with the time of day
_NEXT_LINE = re.compile(r"^\d{4}-\d\d-\d\d ", re.MULTILINE)
# heartbeats and the statistics that the router reads from time to time; audit entries, written in the background;
# what SQLAlchemy asks (in lower case) and prepares once a session: there is a second one when a thread uses the first;
# the announcement of a step that lasts 0.1 s, as any may on a loaded machine
_AT_REST = re.compile(r"\b(?:pools|audit_log|octollm_announce)\b|^(?:PREPARE|select|show)\b")
# waiting, and what a new connection says
_REDIS_AT_REST = frozenset({"brpop", "ping", "hello", "client|setinfo"})
# the commands of this test
_REDIS_OURS = frozenset({"info", "llen", "rpush"})
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Costs:
    """The statements and Redis commands that processes sent, and what they committed."""

    sent: list[str] = field(default_factory=list)
    commits: int = 0
    commands: Counter[str] = field(default_factory=Counter)

    @property
    def hints(self) -> int:
        """The hints to watchers."""
        return self.commands["publish"]

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that COSTS has."""
        commands = self.commands.total() - self.hints
        return {"statements": len(self.sent), "commits": self.commits, "redis commands": commands}

    def read_log(self, text: str) -> None:
        """Add the statements of Postgres' log that were committed; one outside a transaction commits by itself.

        A session that has not prepared a statement yet refuses it, and the transaction is repeated.
        """
        is_open: dict[str, list[str]] = {}
        alone: dict[str, str] = {}
        for session, kind, sql in _lines(text):
            if kind == "ERROR":
                alone.pop(session, None)
                continue
            self._commit(alone.pop(session, None))
            if sql == "BEGIN":
                is_open[session] = []
            elif sql == "COMMIT":
                self._commit(*is_open.pop(session))
            elif sql == "ROLLBACK":
                del is_open[session]
            elif session in is_open:
                is_open[session].append(sql)
            else:
                alone[session] = sql
        for sql in alone.values():
            self._commit(sql)

    def _commit(self, *transaction: str | None) -> None:
        counted = [sql for sql in transaction if sql is not None and not _AT_REST.search(sql)]
        self.sent += counted
        self.commits += bool(counted)


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield session, LOG or ERROR, and the statement of each line of Postgres' log that has one, or an error."""
    for match in _LINE.finditer(text):
        following = _NEXT_LINE.search(text, match.end())
        sql = text[match.end() : following.start() if following else len(text)]
        yield match[1], match[2] or match[3], " ".join(sql.split())


@dataclass(frozen=True)
class Counters:
    """What the processes under test have sent so far."""

    log: Path
    client: "redis.Redis"

    @contextmanager
    def counting(self) -> Iterator[Costs]:
        """Count what is sent inside the block."""
        found = Costs()
        offset, before = self.log.stat().st_size, self._commands()
        yield found
        found.commands = self._commands()
        found.commands.subtract(before)
        with self.log.open() as log:
            log.seek(offset)
            found.read_log(log.read())

    def _commands(self) -> Counter[str]:
        stats: Any = self.client.info("commandstats")
        names = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
        kept = names.keys() - _REDIS_AT_REST - _REDIS_OURS
        return Counter({name: names[name] for name in kept})


@pytest.fixture
def counted_settings(
    engine: Engine, our_settings: Settings, own_redis: Valkey
) -> Iterator[dict[str, Settings]]:
    """Settings of the API and of a worker, each with a login whose statements Postgres logs."""
    key = signing_key.new_private_key()
    found = {}
    with engine.connect() as conn:
        for login, roles in _LOGINS.items():
            conn.exec_driver_sql(f"CREATE ROLE {login} LOGIN PASSWORD 'costs' IN ROLE {', '.join(roles)}")
            conn.exec_driver_sql(f"ALTER ROLE {login} SET log_statement = 'all'")
            url = make_url(our_settings.database_url).set(username=login, password="costs")
            found[login] = replace(
                our_settings,
                database_url=url.render_as_string(hide_password=False),
                redis_url=own_redis.url,
                rate_limit=Rate(1_000_000, 60),
                permit_private_key=key,
                permit_public_key=signing_key.public_key_of(key),
            )
    yield found
    with engine.connect() as conn:
        for login in _LOGINS:
            conn.exec_driver_sql(f"DROP ROLE {login}")


@pytest.fixture
def worker(
    counted_settings: dict[str, Settings], engine: Engine, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """One worker of planner, retriever and judge, which does one thing at a time."""
    chosen = counted_settings["costs_worker"]
    environ = {
        "DATABASE_URL": chosen.database_url,
        "REDIS_URL": chosen.redis_url,
        "PERMIT_PRIVATE_KEY": chosen.permit_private_key,
        "PERMIT_PUBLIC_KEY": chosen.permit_public_key,
        # no lease is renewed while the test runs
        "LEASE_SECONDS": "600",
        "HEARTBEAT_SECONDS": "500",
        "WATCHDOG_SECONDS": "0",
    }
    queues = "planner,arm.retriever,judge"
    with (
        (tmp_path / "worker.log").open("wb") as log,
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "workers",
                "worker",
                "-P",
                "solo",
                "-Q",
                queues,
                "--without-mingle",
                "--without-gossip",
            ],
            cwd=_ROOT,
            env={**os.environ, **environ},
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until(
                lambda: _ask(engine, "SELECT count(*) FROM pools") == 3, 60, f"the worker; see {log.name}"
            )
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def test_a_task_costs_as_many_statements_commits_and_redis_commands_as_the_table_says(
    counted_settings: dict[str, Settings],
    worker: "subprocess.Popen[bytes]",
    engine: Engine,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a count that it keeps for a second would be read anew when the machine is slow
    monkeypatch.setattr(backpressure, "KEPT_SECONDS", 3600.0)
    settings = counted_settings["costs_door"]
    app = create_app(settings)
    call = Caller(app, sign_token(settings, tenant=TENANT, key_id="costs", scopes=SCOPES))
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        counters = Counters(home / "log" / "postgres.log", client)
        run_one(call, worker, counters, engine=engine)

        found = run_one(call, worker, counters, engine=engine)

    hub_of(app).stop()
    buffer_of(app).close()
    assert {part: costs.numbers for part, costs in found.items()} == COSTS, _listed(found)
    assert found["work"].hints <= MAX_HINTS


def are_idle(engine: Engine) -> bool:
    """Return whether no session of the processes under test does anything."""
    with engine.connect() as conn:
        sql = "SELECT FROM pg_stat_activity WHERE usename = ANY(%(logins)s) AND state IS DISTINCT FROM 'idle'"
        return conn.exec_driver_sql(sql, {"logins": list(_LOGINS)}).first() is None


def run_one(
    call: Caller, worker: "subprocess.Popen[bytes]", counters: Counters, *, engine: Engine
) -> dict[str, Costs]:
    """Run a task to its end and return its costs; the worker rests while the API answers."""
    worker.send_signal(signal.SIGSTOP)
    # a session that has just been opened is not a part of the submission
    wait_until(lambda: are_idle(engine), 20, "the sessions to be idle")
    with counters.counting() as submission:
        task_id = submit(call)
    with counters.counting() as work:
        worker.send_signal(signal.SIGCONT)
        wait_for_the_end(engine, counters.client, task_id)
    with counters.counting() as status:
        assert call("GET", f"/v1/tasks/{task_id}").json["status"] == "completed"
    return {"submission": submission, "work": work, "status": status}


def submit(call: Caller) -> str:
    steps = [collect(f"s{number}", [number, secrets.token_hex(8)]) for number in range(8)]
    reply = call("POST", "/v1/tasks", json={"goal": "Collect values", "plan": {"steps": steps}})
    assert reply.status_code == 202, reply.json
    return str(reply.json["task_id"])


def wait_for_the_end(engine: Engine, client: "redis.Redis", task_id: str) -> None:
    """Wait until the task has ended and the worker has taken a later message, which is foreign and is dropped."""
    sql = f"SELECT count(*) FROM tasks WHERE id = '{task_id}' AND finished_at IS NOT NULL"
    wait_until(lambda: _ask(engine, sql), 60, "the end of the task")
    client.rpush("planner", "foreign")
    wait_until(lambda: client.llen("planner") == 0, 60, "the worker to take another message")


def _ask(engine: Engine, sql: str) -> Any:
    with engine.connect() as conn:
        return conn.exec_driver_sql(sql).scalar_one()


def _listed(found: dict[str, Costs]) -> str:
    """Return what was sent, for whoever looks for the one too many."""
    lines = []
    for part, costs in found.items():
        lines += [
            f"{part}: {costs.numbers}, {dict(costs.commands)}",
            *(f"  {sql[:100]}" for sql in costs.sent),
        ]
    return "\n".join(lines)
