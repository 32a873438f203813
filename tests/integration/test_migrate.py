"""Migrations may run repeatedly and concurrently, on the bundled Postgres and on the machine's own."""

import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from orchestrator import bootstrap
from orchestrator.chord.database import open_engine, statement, transaction
from orchestrator.cli import checks
from orchestrator.devserver import binaries
from orchestrator.devserver.child_reaper import ChildReaper
from orchestrator.devserver.postgres import Postgres
from orchestrator.memory import migrate
from orchestrator.models.errors import SettingsError, Unavailable
from orchestrator.settings import Settings


@pytest.fixture(params=["bundled", "the machine's"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a new database: on the bundled Postgres, and on the machine's own where it has one."""
    program = binaries.postgres(bundled=request.param == "bundled" or not _has_its_own())
    reaper = ChildReaper()
    server = Postgres(tmp_path, program, durable=False, reaper=reaper)
    server.start()
    yield server.url
    server.stop()
    reaper.close()


def test_migrating_again_changes_nothing(empty_database: str) -> None:
    migrate.upgrade(empty_database)
    before = _schema(empty_database)

    migrate.upgrade(empty_database)

    assert _schema(empty_database) == before
    assert {"tasks", "rounds", "steps", "events", "chords", "chord_parts"} <= {table for table, _ in before}


def test_processes_that_migrate_at_once_take_turns(empty_database: str) -> None:
    errors: list[BaseException] = []

    def upgrade() -> None:
        try:
            migrate.upgrade(empty_database)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(_schema(empty_database)) > 100


@pytest.fixture
def empty_beside(postgres_url: str) -> Iterator[Callable[..., str]]:
    """Make an empty database of some encoding on the session's Postgres, and return its address."""
    address, made = make_url(postgres_url), []
    beside = open_engine(address.set(database="postgres").render_as_string(hide_password=False), pool_size=1)

    def make(encoding: str = "UTF8") -> str:
        name = f"beside_{secrets.token_hex(6)}"
        with statement(beside) as conn:
            conn.exec_driver_sql(
                f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
            )
        made.append(name)
        return address.set(database=name).render_as_string(hide_password=False)

    yield make
    with statement(beside) as conn:
        for name in made:
            conn.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    beside.dispose()


def test_a_lock_left_in_a_pooler_does_not_hang_the_next_migration(empty_beside: Callable[..., str]) -> None:
    url = empty_beside()
    pooler = open_engine(url, pool_size=1)
    with statement(pooler) as conn:
        pid = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        conn.exec_driver_sql("SELECT pg_advisory_lock(%(lock)s)", {"lock": migrate._LOCK})

        with pytest.raises(Unavailable, match=rf"another migration: .*pg_terminate_backend\({pid}\)"):
            migrate.upgrade(url, wait_seconds=0.2)

    pooler.dispose()
    migrate.upgrade(url)


def test_a_migration_waits_for_a_table_in_use_and_names_its_user(empty_beside: Callable[..., str]) -> None:
    url = empty_beside()
    migrate.upgrade(url, revision="0001")
    user = open_engine(url, pool_size=1)
    with transaction(user) as conn:
        pid = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        conn.exec_driver_sql("LOCK TABLE tasks, steps, events IN ACCESS EXCLUSIVE MODE")

        with pytest.raises(Unavailable, match=rf"a transaction that uses our tables: process {pid} "):
            migrate.upgrade(url, wait_seconds=0.2)

    user.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_without_utf8_is_refused(
    empty_beside: Callable[..., str], our_settings: Settings, encoding: str
) -> None:
    url = empty_beside(encoding)
    chosen = replace(our_settings, database_url=url)

    with pytest.raises(SettingsError, match=rf"stores texts as {encoding}.*ENCODING 'UTF8'"):
        migrate.upgrade(url)
    with pytest.raises(SettingsError, match=encoding):
        bootstrap.for_api(chosen)
    assert [
        encoding in result.message for result in checks.postgres(chosen) if result.subject == "postgres texts"
    ] == [True]


def _has_its_own() -> bool:
    try:
        binaries.postgres(bundled=False)
    except SettingsError:
        return False
    return True


def _schema(url: str) -> list[tuple[str, str]]:
    engine: Engine = open_engine(url)
    with statement(engine) as conn:
        rows = conn.exec_driver_sql(
            """SELECT table_name, column_name FROM information_schema.columns
               WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"""
        )
        columns = [(row.table_name, row.column_name) for row in rows]
    engine.dispose()
    return columns
