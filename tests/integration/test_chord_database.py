"""The chord engine's connections: dead ones are replaced, forks have their own, the first use makes the tables."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from orchestrator.chord import chord
from orchestrator.chord.database import Database


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """The engine's own connections to the test's database."""
    opened = Database(postgres_url)
    yield opened
    opened.dispose()


def test_a_connection_that_died_idle_is_replaced_without_an_error(database: Database) -> None:
    with database.transaction() as conn:
        first = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    with create_engine(database.engine.url).connect() as killer:
        killer.exec_driver_sql(f"SELECT pg_terminate_backend({first}, 5000)")

    with database.transaction() as conn:
        second = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()

    assert first != second


def test_a_transaction_gives_up_when_postgres_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.chord.database.RECONNECT_SECONDS", 0.2)
    away = Database("postgresql://nobody@127.0.0.1:1/none")

    with pytest.raises(OperationalError), away.transaction():
        pass


def test_a_forked_child_uses_its_own_connections(database: Database) -> None:
    pids: Any = multiprocessing.get_context("fork").SimpleQueue()

    def ask() -> int:
        return int(database.run(lambda conn: conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()))

    before = ask()
    child = os.fork()
    if child == 0:
        pids.put(ask())
        os._exit(0)
    os.waitpid(child, 0)

    assert pids.get() != before
    assert ask() == before


def test_the_first_process_creates_the_tables(postgres_url: str) -> None:
    name = "chord_tables"
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.exec_driver_sql(f"CREATE DATABASE {name}")
    databases = [Database(postgres_url.rpartition("/")[0] + f"/{name}") for _ in range(6)]

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda one: one.run(lambda conn: chord.lock(conn, "none")), databases))

    assert found == [None] * 6
    for one in databases:
        one.dispose()
    with admin.connect() as conn:
        conn.exec_driver_sql(f"DROP DATABASE {name}")
    admin.dispose()
