"""Migrations: any number of times, by several processes at once, on the bundled Postgres and the machine's own."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator.devstack import binaries
from orchestrator.devstack.leash import Leash
from orchestrator.devstack.postgres import Postgres
from orchestrator.errors import SettingsError
from orchestrator.store import migrate
from orchestrator.store.engine import open_engine, statement


@pytest.fixture(params=["bundled", "the machine's"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a new database: on the bundled Postgres, and on the machine's own where it has one."""
    program = binaries.postgres(bundled=request.param == "bundled" or not _has_its_own())
    leash = Leash()
    server = Postgres(tmp_path, program, durable=False, leash=leash)
    server.start()
    yield server.url
    server.stop()
    leash.release()


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
