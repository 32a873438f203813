"""A drill: all processes reach Postgres through PgBouncer, whose sessions they share by the transaction.

The figures are in docs/operations.md: `pytest -s -m slow tests/acceptance/test_pgbouncer.py` prints them.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy.engine import URL, make_url

from orchestrator.chord.database import open_engine
from orchestrator.devserver import servers
from orchestrator.devserver.child_process import free_port, launch, tail
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.stack import Stack
from tests import machine
from tests.acceptance.audit import violations_of
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.plans import collect, ref, wait
from tests.waiting import wait_until
from tests.ws import WebSocket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

SESSIONS = 6
"""Sessions that PgBouncer opens: fewer than there are processes, so that they are shared."""
LEASE_SECONDS = 8
CONFIGURATION = """
[databases]
octollm = host={url.host} port={url.port} dbname={url.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {sessions}
max_client_conn = 400
admin_users = postgres
ignore_startup_parameters = extra_float_digits
{run_as}
"""


@dataclass
class Pooled:
    """A stack behind PgBouncer."""

    stack: Stack
    direct_url: str
    postgres_log: Path
    pool_port: int

    def client(self, tenant: str = "acme") -> Client:
        """Return a client of a tenant."""
        return client_of(self.stack, tenant=tenant)

    def ask_pooler(self, question: str) -> list[dict[str, object]]:
        """Return the rows of one of PgBouncer's own commands."""
        url = make_url(self.direct_url)
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.pool_port,
            user=url.username,
            password=url.password,
            dbname="pgbouncer",
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(question)
                names = [column.name for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest) -> Iterator[Pooled]:
    """All processes behind PgBouncer in one of its modes."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        machine.lacks("PgBouncer", package="pgbouncer")
    # in session mode each connection of ours has a session
    sessions = SESSIONS if request.param == "transaction" else 150
    with tempfile.TemporaryDirectory(prefix="octollm-pgbouncer-") as folder, ExitStack() as ending:
        home = Path(folder)
        up = ending.enter_context(servers.start(home / "servers", durable=False, environ={}))
        reaper = ChildReaper()
        ending.callback(reaper.close)
        url, port = make_url(up.database_url), free_port()
        pooler = launch(
            [program, str(_configure(home / "pool", url, port=port, mode=request.param, sessions=sessions))],
            environ=os.environ,
            log=home / "log" / "pgbouncer.log",
            reaper=reaper,
            orphan_signal=signal.SIGKILL,
        )
        ending.callback(pooler.stop, signal.SIGINT, seconds=5)
        environ = {
            "DATABASE_URL": url.set(port=port).render_as_string(hide_password=False),
            "REDIS_URL": up.redis_url,
            "LOG_LEVEL": "info",
            "RATE_LIMIT": "1000000/minute",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "GRACE_SECONDS": "1",
        }
        wait_until(
            lambda: _answers(environ["DATABASE_URL"]),
            20,
            f"PgBouncer: {tail(home / 'log' / 'pgbouncer.log')}",
        )
        with Stack(home / "stack", port=0, environ=environ) as running:
            yield Pooled(running, up.database_url, home / "servers" / "log" / "postgres.log", port)


def _configure(folder: Path, url: URL, *, port: int, mode: str, sessions: int) -> Path:
    folder.mkdir()
    (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
    path = folder / "pgbouncer.ini"
    run_as = ""
    if os.geteuid() == 0:
        # PgBouncer refuses root
        run_as = "user = nobody"
        folder.chmod(0o755)
        folder.parent.chmod(0o755)
    path.write_text(
        CONFIGURATION.format(url=url, port=port, folder=folder, mode=mode, sessions=sessions, run_as=run_as)
    )
    return path


def _answers(database_url: str) -> bool:
    try:
        psycopg2.connect(_dsn(database_url), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _dsn(database_url: str) -> str:
    """Return the address without SQLAlchemy's driver."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_tasks_complete_once_while_processes_share_sessions(pooled: Pooled) -> None:
    """Two tenants' tasks run at the same time, and neither sees the other's."""
    clients = [pooled.client("acme"), pooled.client("umbrella")]
    steps = [
        wait("a", 0.2),
        collect("b", [ref("a", "/seconds")], "a"),
        wait("c", 0.1, "a"),
        wait("d", 0, "b", "c"),
    ]
    began = time.monotonic()

    tasks = [(client, client.submit(plan={"steps": steps})) for _ in range(15) for client in clients]
    ends = [client.end_of(task_id, timeout=90)["status"] for client, task_id in tasks]
    took = time.monotonic() - began

    assert set(ends) == {"completed"}
    for client, task_id in tasks:
        other = next(one for one in clients if one is not client)
        assert other.call("GET", f"/v1/tasks/{task_id}").status == 404
    engine = open_engine(pooled.direct_url, pool_size=1)
    violations = violations_of(engine, [task_id for _, task_id in tasks], lease_seconds=LEASE_SECONDS)
    with engine.connect() as conn:
        again = conn.exec_driver_sql("SELECT count(*) FROM steps WHERE attempt > 1").scalar_one()
    engine.dispose()
    assert (violations, again) == ([], 0)
    _print_figures(pooled, len(tasks), took)


def _print_figures(pooled: Pooled, count: int, took: float) -> None:
    (pool,) = [row for row in pooled.ask_pooler("SHOW POOLS") if row["database"] == "octollm"]
    ours = len([row for row in pooled.ask_pooler("SHOW CLIENTS") if row["database"] == "octollm"])
    sessions = len([row for row in pooled.ask_pooler("SHOW SERVERS") if row["database"] == "octollm"])
    log = pooled.postgres_log.read_text(errors="replace")
    foreign = log.count("prepared statement")
    sys.stdout.write(
        f"\npgbouncer drill, {pool['pool_mode']} mode: {count} tasks in {took:.1f} s; {ours} connections on {sessions} "
        f"sessions; {foreign} statements met a session that did not have them, or had them\n"
    )


def test_a_task_is_cancelled_and_streamed(pooled: Pooled) -> None:
    client = pooled.client()
    task_id = client.submit(plan={"steps": [wait("long", 60)]})
    headers = {"Authorization": f"Bearer {client.token}"}

    with WebSocket.open(client.url, f"/v1/tasks/{task_id}/stream?after=0", headers=headers) as stream:
        seen = [stream.next(timeout=20)]
        while seen[-1]["type"] != "step.started":
            seen.append(stream.next(timeout=20))
        answer = client.call("POST", f"/v1/tasks/{task_id}/cancel")
        seen += stream.rest()

    assert answer.status in (200, 202), answer
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1]["type"] == "task.cancelled"


def test_no_process_met_an_error_of_the_database(pooled: Pooled) -> None:
    """What a session lacks is run again as it is; nothing of it reaches a log line or a client."""
    logs = {path.name: path.read_text(errors="replace") for path in (pooled.stack.home / "log").glob("*.log")}
    bad = [
        (name, line)
        for name, text in logs.items()
        for line in text.splitlines()
        if any(
            word in line
            for word in ("ProgrammingError", "prepared", "Traceback", "sweep.failed", "http.failed")
        )
    ]

    assert bad == []


def test_no_session_keeps_a_tenant_or_a_setting(pooled: Pooled) -> None:
    """The role and the tenant of a statement end with it, so the session's next user does not inherit them."""
    connections = [psycopg2.connect(_dsn(pooled.stack.database_url)) for _ in range(3)]
    try:
        for connection in connections:
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_user, current_setting('octollm.tenant', true)")
                user, tenant = cursor.fetchone() or ("", "")
                assert (user, tenant or "") == ("postgres", "")
    finally:
        for connection in connections:
            connection.close()
