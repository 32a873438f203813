"""Rules 4 and 5: a task's own rows and its chord are one transaction; messages are published after the commit."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from celery import Celery, Signature, Task, chord
from celery.app.task import Context
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orchestrator.chord import chord as chords
from orchestrator.chord.backend import PostgresBackend
from orchestrator.chord.chord import ChordState, Refused

Stored = Callable[[Connection, Any, str, Any], list["Signature[Any]"]]


class Work(Task[Any, Any]):
    """A task whose hook is set by the test."""

    name = "hook.work"
    stored: Stored

    def run(self) -> None:
        """Do nothing: the tests report outcomes themselves."""

    def on_stored(self, conn: Connection, request: Any, state: str, result: Any) -> list["Signature[Any]"]:
        """Call the test's hook."""
        return self.stored(conn, request, state, result)


@pytest.fixture
def app(postgres_url: str, redis_url: str) -> Iterator[Celery]:
    app = Celery("hook", set_as_current=False)
    app.conf.update(broker_url=redis_url, result_backend=f"octollm+{postgres_url}", task_default_queue="hook")
    app.register_task(Work())
    yield app
    app.backend.database.dispose()
    app.close()


@pytest.fixture
def backend(app: Celery) -> PostgresBackend:
    found: PostgresBackend = app.backend
    return found


def store(app: Celery, task_id: str, stored: Stored, *, group: str | None = "c", result: Any = None) -> None:
    """Report the success of a task with this hook."""
    app.tasks["hook.work"].stored = stored
    app.backend.mark_as_done(task_id, result, Context(id=task_id, group=group, task="hook.work"))


def member(app: Celery, task_id: str, **options: Any) -> "Signature[Any]":
    return app.signature("hook.work", task_id=task_id, queue="hook", immutable=True, **options)


def open_chord(backend: PostgresBackend, size: int) -> None:
    body = backend.to_bytes(member(backend.app, "c-body"))
    with backend.transaction() as conn:
        chords.open(conn, "c", body=body, size=size)


def chord_row(backend: PostgresBackend, chord_id: str = "c") -> Any:
    with backend.transaction() as conn:
        found = conn.exec_driver_sql("SELECT state, size, added, done FROM chords WHERE id = %s", (chord_id,))
        return tuple(found.one())


def messages(app: Celery, queue: str = "hook") -> list[Any]:
    """Take the messages from the broker."""
    found = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        while message := channel.basic_get(queue, no_ack=True):
            found.append(message)
    return found


def ids(app: Celery) -> list[str]:
    return [message.headers["id"] for message in messages(app)]


def nothing(*_: Any) -> list["Signature[Any]"]:
    return []


def test_what_a_task_releases_joins_before_its_own_part_is_counted(
    app: Celery, backend: PostgresBackend
) -> None:
    open_chord(backend, 1)

    store(app, "root", lambda *_: [member(app, "next")])

    assert chord_row(backend) == (ChordState.OPEN, 1, 1, 1)
    assert ids(app) == ["next"]
    store(app, "next", nothing)
    assert chord_row(backend) == (ChordState.FIRED, 1, 1, 2)
    assert ids(app) == ["c-body"]


def test_a_released_member_keeps_its_id_queue_and_priority(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 1)
    released = member(app, "next", priority=3).set(queue="hook.other")

    store(app, "root", lambda *_: [released])

    (message,) = messages(app, "hook.other")
    assert message.headers["id"] == "next"
    assert message.headers["group"] == "c"
    assert message.properties["priority"] == 3


def test_the_hook_comes_first_and_sees_the_raw_result(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 2)
    seen: list[Any] = []

    def stored(conn: Connection, request: Any, state: str, result: Any) -> list["Signature[Any]"]:
        rows = conn.exec_driver_sql("SELECT count(*) FROM results").scalar_one()
        seen.append((request.id, state, result, rows))
        return []

    store(app, "root", stored, result={"answer": 42})

    assert seen == [("root", "SUCCESS", {"answer": 42}, 0)]
    assert backend.get_result("root") == {"answer": 42}


def test_the_chords_row_is_locked_while_the_hook_runs(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 2)
    locked: list[bool] = []

    def stored(conn: Connection, *_: Any) -> list["Signature[Any]"]:
        with backend.transaction() as other:
            free = other.exec_driver_sql("SELECT id FROM chords FOR UPDATE SKIP LOCKED").all()
        locked.append(not free)
        return []

    store(app, "root", stored)

    assert locked == [True]


def test_a_refused_outcome_writes_nothing_and_raises_nothing(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 1)

    def stored(conn: Connection, *_: Any) -> list["Signature[Any]"]:
        conn.exec_driver_sql("INSERT INTO groups (group_id, value) VALUES ('mine', '')")
        raise Refused("a late duplicate")

    with structlog.testing.capture_logs() as logs:
        store(app, "root", stored)

    assert chord_row(backend) == (ChordState.OPEN, 1, 0, 0)
    assert backend.get_state("root") == "PENDING"
    assert backend.restore_group("mine", cache=False) is None
    assert ids(app) == []
    assert [(log["event"], log["log_level"], log["reason"]) for log in logs] == [
        ("chord.refused", "warning", "a late duplicate")
    ]


def test_an_error_in_the_hook_rolls_everything_back_and_is_raised(
    app: Celery, backend: PostgresBackend
) -> None:
    open_chord(backend, 1)

    def stored(*_: Any) -> list["Signature[Any]"]:
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        store(app, "root", stored)

    assert chord_row(backend) == (ChordState.OPEN, 1, 0, 0)
    assert backend.get_state("root") == "PENDING"


def test_a_failure_is_data_and_the_chord_runs_its_body(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 1)
    app.tasks["hook.work"].stored = nothing

    backend.mark_as_failure("root", ValueError("no"), request=Context(id="root", group="c", task="hook.work"))

    assert chord_row(backend)[0] == ChordState.FIRED
    assert ids(app) == ["c-body"]
    assert backend.get_state("c-body") == "PENDING"


def test_a_returned_chord_is_opened_and_its_header_published(app: Celery, backend: PostgresBackend) -> None:
    header = [member(app, "one"), member(app, "two")]
    saved = chord(header, member(app, "saved-body"), app=app, task_id="saved")

    store(app, "plan", lambda *_: [saved], group=None)

    assert chord_row(backend, "saved") == (ChordState.OPEN, 2, 0, 0)
    found = messages(app)
    assert [message.headers["id"] for message in found] == ["one", "two"]
    assert {message.headers["group"] for message in found} == {"saved"}
    for task_id in ("one", "two"):
        store(app, task_id, nothing, group="saved")
    assert ids(app) == ["saved-body"]


def test_a_returned_chord_without_a_header_runs_its_body(app: Celery, backend: PostgresBackend) -> None:
    saved = chord([], member(app, "saved-body"), app=app, task_id="saved")

    store(app, "plan", lambda *_: [saved], group=None)

    assert chord_row(backend, "saved")[0] == ChordState.FIRED
    assert ids(app) == ["saved-body"]


def test_a_group_without_a_chord_is_not_counted(app: Celery, backend: PostgresBackend) -> None:
    store(app, "root", nothing, group="no-chord")

    assert backend.get_state("root") == "SUCCESS"
    with backend.transaction() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM chord_parts").scalar_one() == 0


def test_a_deadlock_victim_retries_in_a_new_transaction(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 1)
    tries: list[int] = []

    def stored(conn: Connection, *_: Any) -> list["Signature[Any]"]:
        tries.append(conn.exec_driver_sql("SELECT count(*) FROM groups").scalar_one())
        conn.exec_driver_sql("INSERT INTO groups (group_id, value) VALUES ('mine', '')")
        if len(tries) < 3:
            conn.exec_driver_sql("DO $$ BEGIN RAISE deadlock_detected; END $$")
        return []

    store(app, "root", stored)

    assert tries == [0, 0, 0]
    assert chord_row(backend)[0] == ChordState.FIRED


def test_a_pooler_that_swaps_sessions_causes_no_error(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, 2)
    store(app, "root", nothing)
    with backend.transaction() as conn:
        conn.exec_driver_sql("DEALLOCATE ALL")
    tries: list[int] = []

    store(app, "other", lambda *_: tries.append(1) or [])

    assert tries == [1]
    assert chord_row(backend)[0] == ChordState.FIRED


def test_an_error_that_a_retry_cannot_fix_is_raised_at_once(app: Celery, backend: PostgresBackend) -> None:
    tries: list[int] = []

    def stored(conn: Connection, *_: Any) -> list["Signature[Any]"]:
        tries.append(1)
        conn.exec_driver_sql("SELECT 1/0")
        return []

    with pytest.raises(DBAPIError):
        store(app, "root", stored, group=None)

    assert tries == [1]


def test_a_broker_that_is_away_delays_nothing_and_loses_nothing(
    postgres_url: str, app: Celery, backend: PostgresBackend
) -> None:
    away = Celery("away", set_as_current=False)
    away.conf.update(broker_url="redis://127.0.0.1:1/0", result_backend=f"octollm+{postgres_url}")
    away.register_task(Work())
    open_chord(backend, 1)
    began = time.monotonic()

    with structlog.testing.capture_logs() as logs:
        store(away, "root", lambda *_: [member(away, f"next-{number}") for number in range(20)])

    assert time.monotonic() - began < 1.5
    assert [log["event"] for log in logs] == ["chord.publish_failed"]
    assert len(logs[0]["task_ids"]) == 20
    assert chord_row(backend) == (ChordState.OPEN, 1, 20, 1)
    away.backend.database.dispose()
