"""Counts what runs cost: CPU by process kind, Postgres statements, commits and WAL, Redis commands."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg2
import redis
from sqlalchemy.engine import make_url

Roots = Mapping[str, Sequence[int]]
"""The processes of each kind; their descendants count too."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PREFIX: Final = "bench %p %u "
_LINE: Final = re.compile(r"^bench (\d+) (\S+) LOG:  (?:statement|execute [^:]*): (.*)")
_OPENS: Final = re.compile(r"\s*(?:BEGIN|START TRANSACTION)\b", re.IGNORECASE)
_COMMITS: Final = re.compile(r"\s*(?:COMMIT|END)\b", re.IGNORECASE)
_ROLLS_BACK: Final = re.compile(r"\s*(?:ROLLBACK|ABORT)\s*(?:;\s*)?$", re.IGNORECASE)


@dataclass
class Counts:
    """Counts of one run, or their difference to another."""

    cpu_ms: Counter[str] = field(default_factory=Counter)
    wal_bytes: int = 0
    transactions_that_write: int = 0
    redis_commands: Counter[str] = field(default_factory=Counter)

    def since(self, earlier: "Counts") -> "Counts":
        """Return what was added since an earlier count."""
        commands = Counter(self.redis_commands)
        commands.subtract(earlier.redis_commands)
        cpu = Counter(self.cpu_ms)
        cpu.subtract(earlier.cpu_ms)
        return Counts(
            cpu,
            self.wal_bytes - earlier.wal_bytes,
            self.transactions_that_write - earlier.transactions_that_write,
            +commands,
        )


@dataclass
class Statements:
    """Statements that clients sent, and the transactions they committed, by the database user."""

    sent: Counter[str] = field(default_factory=Counter)
    commits: Counter[str] = field(default_factory=Counter)
    round_trips: Counter[str] = field(default_factory=Counter)


class Meter:
    """Reads the counters of one Postgres and one Redis on this machine, and of processes."""

    def __init__(self, database_url: str, redis_url: str, postgres_log: Path) -> None:
        dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.conn: Any = psycopg2.connect(dsn)
        self.conn.autocommit = True
        self._redis: Any = redis.Redis.from_url(redis_url, decode_responses=True)
        self._log = postgres_log
        self._servers = {
            "postgres": [_parent_of(self._ask("SELECT pg_backend_pid()"))],
            "redis": [self._info()],
        }

    def close(self) -> None:
        """Close the connections."""
        self.conn.close()
        self._redis.close()

    def read(self, roots: Roots) -> Counts:
        """Return all counters since the start of the servers and processes."""
        stats = self._redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
        commands.pop("info", None)
        return Counts(
            cpu_ms=cpu_ms({**roots, **self._servers}),
            wal_bytes=int(self._ask("SELECT pg_current_wal_lsn() - '0/0'")),
            transactions_that_write=int(self._ask("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")),
            redis_commands=Counter(commands),
        )

    @contextmanager
    def statements(self) -> Iterator[Statements]:
        """Let Postgres log every statement inside the block, and count them at its end."""
        found = Statements()
        self._set_logging(
            f"ALTER SYSTEM SET log_line_prefix = '{_PREFIX}'", "ALTER SYSTEM SET log_statement = 'all'"
        )
        offset = self._log.stat().st_size
        try:
            yield found
        finally:
            self._set_logging("ALTER SYSTEM RESET log_line_prefix", "ALTER SYSTEM RESET log_statement")
        with self._log.open(errors="replace") as log:
            log.seek(offset)
            count_statements(log, found)

    def versions(self) -> dict[str, str]:
        """Return the versions of the two servers."""
        found = self._redis.info("server")
        name = found.get("server_name", "redis")
        return {
            "postgres": str(self._ask("SHOW server_version")),
            name: str(found.get(f"{name}_version", found["redis_version"])),
        }

    def _set_logging(self, *changes: str) -> None:
        with self.conn.cursor() as cursor:
            for change in changes:
                cursor.execute(change)
            cursor.execute("SELECT pg_reload_conf()")
        # a backend reads its settings before its next statement, once the postmaster has signalled it
        time.sleep(0.3)

    def _ask(self, sql: str) -> Any:
        with self.conn.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def _info(self) -> int:
        return int(self._redis.info("server")["process_id"])


def count_statements(lines: Iterator[str], found: Statements) -> None:
    """Count the lines of a Postgres log; statements outside a transaction commit by themselves."""
    is_open: dict[str, bool] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        session, user, sql = match.groups()
        found.round_trips[user] += 1
        if _OPENS.match(sql):
            is_open[session] = True
        elif _COMMITS.match(sql):
            is_open[session] = False
            found.commits[user] += 1
        elif _ROLLS_BACK.match(sql):
            is_open[session] = False
        else:
            found.sent[user] += 1
            found.commits[user] += not is_open.get(session, False)


def cpu_ms(roots: Roots) -> Counter[str]:
    """Return the CPU milliseconds so far of each kind's processes, their descendants and those that ended."""
    parents, used = _processes()
    kinds = {pid: kind for kind, pids in roots.items() for pid in pids}
    total: Counter[str] = Counter(dict.fromkeys(roots, 0))
    for pid, milliseconds in used.items():
        ancestor = pid
        while ancestor not in kinds and ancestor in parents:
            ancestor = parents[ancestor]
        if ancestor in kinds:
            total[kinds[ancestor]] += milliseconds
    return total


def _processes() -> tuple[dict[int, int], dict[int, int]]:
    """Return {pid: its parent} and {pid: CPU milliseconds of it and of the children that it waited for}."""
    parents, used = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = sum(map(int, fields[11:15])) * 1000 // _TICKS
    return parents, used


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
