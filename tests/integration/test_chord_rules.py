"""The chord engine's rules 1 to 3, checked in the rows and in the statements that reach Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from celery import Celery
from celery.app.task import Context
from celery.signals import before_task_publish
from celery.utils.functional import regen
from sqlalchemy import Engine, event

from orchestrator.chord import chord
from orchestrator.chord.backend import PostgresBackend
from orchestrator.chord.chord import ChordState, EncodedResult

NOTHING = EncodedResult("SUCCESS", b"null")


@pytest.fixture
def app(postgres_url: str, redis_url: str) -> Iterator[Celery]:
    app = Celery("rules", set_as_current=False)
    app.conf.update(
        broker_url=redis_url,
        result_backend=f"octollm+{postgres_url}",
        task_default_queue="rules",
    )
    yield app
    app.backend.database.dispose()
    app.close()


@pytest.fixture
def backend(app: Celery) -> PostgresBackend:
    found: PostgresBackend = app.backend
    return found


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect the statements that this process sends to Postgres."""
    sent: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement.splitlines()[0])

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


def open_chord(backend: PostgresBackend, chord_id: str, size: int | None) -> None:
    body = backend.app.signature("rules.body", task_id=f"{chord_id}-body")
    with backend.transaction() as conn:
        chord.open(conn, chord_id, body=backend.to_bytes(body), size=size)


def part_of(chord_id: str, task_id: str, index: int = 0) -> Context:
    """Return the request of a header task."""
    return Context(
        id=task_id, group=chord_id, group_index=index, chord={"task": "rules.body"}, task="rules.part"
    )


def state_of(backend: PostgresBackend, chord_id: str) -> str:
    with backend.transaction() as conn:
        return str(conn.exec_driver_sql("SELECT state FROM chords WHERE id = %s", (chord_id,)).scalar_one())


def published(app: Celery) -> list[str]:
    """Take the task ids of the messages in the broker."""
    ids = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        while message := channel.basic_get("rules", no_ack=True):
            ids.append(message.headers["id"])
    return ids


def test_a_part_delivered_twice_counts_once(backend: PostgresBackend) -> None:
    open_chord(backend, "c", 2)

    for _ in range(3):
        backend.mark_as_done("t1", 1, part_of("c", "t1"))

    assert state_of(backend, "c") == ChordState.OPEN


def test_a_frozen_task_that_is_twice_in_a_header_counts_twice(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, "c", 2)

    for index in (0, 1):
        backend.mark_as_done("t1", 1, part_of("c", "t1", index))

    assert published(app) == ["c-body"]


def test_adding_the_same_member_twice_adds_it_once(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, "c", 1)
    for _ in range(2):
        backend.add_to_chord("c", app.AsyncResult("member"))

    backend.mark_as_done("t1", 1, part_of("c", "t1"))
    assert published(app) == []
    backend.mark_as_done("member", 2, part_of("c", "member"))

    assert published(app) == ["c-body"]


def test_result_part_and_count_are_one_statement(backend: PostgresBackend) -> None:
    open_chord(backend, "c", 3)
    backend.mark_as_done("t0", 0, part_of("c", "t0"))

    with statements() as sent:
        backend.mark_as_done("t1", 1, part_of("c", "t1"))

    assert sent == ["-- octollm_count_part"]


def test_a_pooler_that_swaps_sessions_does_no_harm(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, "c", 3)
    backend.mark_as_done("t0", 0, part_of("c", "t0"))

    backend.database.run(lambda conn: conn.exec_driver_sql("DEALLOCATE ALL"))
    backend.mark_as_done("t1", 1, part_of("c", "t1"))
    backend.mark_as_done("t2", 2, part_of("c", "t2"))

    assert published(app) == ["c-body"]


def test_a_plain_header_costs_one_statement(app: Celery, backend: PostgresBackend) -> None:
    backend.apply_chord(("warm-up", [app.AsyncResult("t")]), app.signature("rules.body"))

    with statements() as sent:
        backend.apply_chord(
            ("c", [app.AsyncResult("t1"), app.AsyncResult("t2")]), app.signature("rules.body")
        )
        backend.set_chord_size("c", 2)

    assert sent == ["-- octollm_reopen"]


def test_a_lazy_header_is_not_iterated_before_it_is_published(app: Celery, backend: PostgresBackend) -> None:
    made: list[int] = []
    header = regen(made.append(number) or app.AsyncResult(str(number)) for number in range(5))

    backend.apply_chord(("c", header), app.signature("rules.body"))

    assert made == []


def test_a_chord_whose_size_comes_after_its_parts_is_ready_then(
    app: Celery, backend: PostgresBackend
) -> None:
    open_chord(backend, "c", None)
    backend.mark_as_done("t1", 1, part_of("c", "t1"))
    assert state_of(backend, "c") == ChordState.OPEN

    backend.set_chord_size("c", 1)

    assert published(app) == ["c-body"]


def test_a_plain_group_writes_no_parts(backend: PostgresBackend) -> None:
    backend.mark_as_done("t1", 1, Context(id="t1", group="g", group_index=0, task="rules.part"))

    with backend.transaction() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM chord_parts").scalar_one() == 0
    assert backend.get_state("t1") == "SUCCESS"


def test_the_first_success_stays(backend: PostgresBackend) -> None:
    backend.mark_as_done("t1", "first")
    backend.mark_as_failure("t1", ValueError("late"))

    assert backend.get_task_meta("t1", cache=False)["result"] == "first"


def test_a_fired_chord_that_is_applied_again_starts_again(app: Celery, backend: PostgresBackend) -> None:
    header = ("c", [app.AsyncResult("t1")])
    for _ in range(2):
        backend.apply_chord(header, app.signature("rules.body", task_id="c-body"))
        backend.mark_as_done("t1", 1, part_of("c", "t1"))

    assert published(app) == ["c-body", "c-body"]


def test_a_chord_applied_again_while_it_is_open_keeps_its_parts(
    app: Celery, backend: PostgresBackend
) -> None:
    header = ("c", [app.AsyncResult("t1"), app.AsyncResult("t2")])
    for task_id in ("t1", "t2"):
        backend.apply_chord(header, app.signature("rules.body", task_id="c-body"))
        backend.mark_as_done(task_id, 1, part_of("c", task_id))

    assert published(app) == ["c-body"]


def test_counting_into_a_closed_chord_does_nothing(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, "c", 1)
    with backend.transaction() as conn:
        chord.close(conn, "c")
        chord.close(conn, "c")

    backend.mark_as_done("t1", 1, part_of("c", "t1"))

    assert state_of(backend, "c") == ChordState.CLOSED
    assert published(app) == []


def test_fired_follows_the_publication_of_the_body(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, "c", 1)
    backend.mark_as_done("t1", 1, part_of("c", "t1"))

    assert (state_of(backend, "c"), published(app)) == (ChordState.FIRED, ["c-body"])
    backend.mark_as_done("t1", 1, part_of("c", "t1"))
    assert published(app) == []


def make_ready(backend: PostgresBackend, chord_id: str) -> None:
    """Count a chord's only part as a process that dies before it publishes the body."""
    open_chord(backend, chord_id, 1)
    with backend.transaction() as conn:
        chord.count_part(conn, chord_id, chord.FinishedPart(f"{chord_id}-part"), outcome=NOTHING)


def test_a_repeated_part_fires_a_ready_chord(app: Celery, backend: PostgresBackend) -> None:
    make_ready(backend, "c")

    backend.mark_as_done("c-part", None, part_of("c", "c-part", chord.ANYWHERE))

    assert (state_of(backend, "c"), published(app)) == (ChordState.FIRED, ["c-body"])


def test_fire_ready_publishes_what_has_been_ready_for_long(app: Celery, backend: PostgresBackend) -> None:
    make_ready(backend, "c")
    open_chord(backend, "open", 1)

    assert backend.fire_ready(older_than_seconds=60) == 0
    assert backend.fire_ready(older_than_seconds=0) == 1

    assert (state_of(backend, "c"), published(app)) == (ChordState.FIRED, ["c-body"])


@pytest.mark.parametrize("body", [b"no json", b"null", b'"a word"', b"[1]", b"\xff"])
def test_an_undecodable_body_is_set_aside_and_blocks_no_other(
    app: Celery, backend: PostgresBackend, body: bytes
) -> None:
    make_ready(backend, "bad")
    make_ready(backend, "good")
    backend.database.run(
        lambda conn: conn.exec_driver_sql(
            "UPDATE chords SET body = %(body)s WHERE id = 'bad'", {"body": body}
        )
    )

    with structlog.testing.capture_logs() as logged:
        fired = [backend.fire_ready(older_than_seconds=0) for _ in range(2)]

    assert fired == [1, 0]
    assert (state_of(backend, "bad"), state_of(backend, "good")) == (ChordState.CLOSED, ChordState.FIRED)
    assert published(app) == ["good-body"]
    assert [(line["event"], line["chord_id"]) for line in logged if line["log_level"] == "error"] == [
        ("chord.set_aside", "bad")
    ]


def test_an_undecodable_body_does_not_fail_the_task_of_the_last_part(
    backend: PostgresBackend,
) -> None:
    open_chord(backend, "bad", 1)
    backend.database.run(
        lambda conn: conn.exec_driver_sql("UPDATE chords SET body = 'no json' WHERE id = 'bad'")
    )

    backend.mark_as_done("part", 1, part_of("bad", "part"))

    assert backend.get_state("part") == "SUCCESS"
    assert state_of(backend, "bad") == ChordState.CLOSED


@pytest.mark.slow
def test_fire_ready_stops_at_the_first_sign_that_the_broker_is_away(
    app: Celery, backend: PostgresBackend
) -> None:
    app.conf.update(broker_url="redis://127.0.0.1:1/0", task_publish_retry=False)
    for number in range(4):
        make_ready(backend, f"c{number}")

    with structlog.testing.capture_logs() as logged:
        fired = backend.fire_ready(older_than_seconds=0)

    assert fired == 0
    assert [line["event"] for line in logged] == ["chord.publish_failed"]
    assert {state_of(backend, f"c{number}") for number in range(4)} == {ChordState.READY}


def test_a_chord_is_delayed_only_when_its_own_body_is_about_to_be_published(
    app: Celery, backend: PostgresBackend
) -> None:
    """Otherwise another process could take a slow publisher's later chords before their turn."""
    for number in range(3):
        make_ready(backend, f"c{number}")
    backend.database.run(
        lambda conn: conn.exec_driver_sql("UPDATE chords SET ready_at = now() - interval '1 hour'")
    )
    still_due: list[int] = []

    def count(**_: Any) -> None:
        query = "SELECT count(*) FROM chords WHERE ready_at < now() - interval '1 minute' AND state = 'ready'"
        still_due.append(backend.database.run(lambda conn: conn.exec_driver_sql(query).scalar_one()))

    before_task_publish.connect(count)
    try:
        fired = backend.fire_ready()
    finally:
        before_task_publish.disconnect(count)

    assert (fired, still_due) == (3, [2, 1, 0])


def test_fire_ready_publishes_no_more_than_its_limit(app: Celery, backend: PostgresBackend) -> None:
    for number in range(3):
        make_ready(backend, f"c{number}")

    fired = [backend.fire_ready(2, older_than_seconds=0) for _ in range(3)]

    assert fired == [2, 1, 0]


def test_two_sweepers_take_different_chords(backend: PostgresBackend) -> None:
    for number in range(4):
        make_ready(backend, f"c{number}")

    with backend.transaction() as one, backend.transaction() as other:
        first = chord.ready(one, 2, older_than_seconds=0)
        second = chord.ready(other, 10, older_than_seconds=0)

    assert len(first) == len(second) == 2
    assert not {ready.chord_id for ready in first} & {ready.chord_id for ready in second}


def test_a_body_that_cant_be_published_stays_ready(postgres_url: str, backend: PostgresBackend) -> None:
    away = Celery("away", set_as_current=False)
    away.conf.update(broker_url="redis://127.0.0.1:1/0", result_backend=f"octollm+{postgres_url}")
    open_chord(backend, "c", 1)

    away.backend.mark_as_done("t1", 1, part_of("c", "t1"))

    assert state_of(backend, "c") == ChordState.READY
    away.backend.database.dispose()


def test_a_waiting_chord_expires_only_if_the_application_sets_it(
    app: Celery, backend: PostgresBackend
) -> None:
    open_chord(backend, "waiting", 1)
    with backend.transaction() as conn:
        conn.exec_driver_sql("UPDATE chords SET opened_at = now() - interval '2 hours'")

    app.conf.result_chord_expires = 3600
    backend.cleanup()

    with backend.transaction() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM chords").scalar_one() == 0


def test_expiry_keeps_waiting_chords(app: Celery, backend: PostgresBackend) -> None:
    open_chord(backend, "waiting", 1)
    open_chord(backend, "done", 1)
    backend.mark_as_done("t1", 1, part_of("done", "t1"))
    with backend.transaction() as conn:
        conn.exec_driver_sql("UPDATE chords SET opened_at = now() - interval '2 days'")
        conn.exec_driver_sql("UPDATE results SET stored_at = now() - interval '2 days'")

    backend.cleanup()

    with backend.transaction() as conn:
        assert conn.exec_driver_sql("SELECT array_agg(id) FROM chords").scalar_one() == ["waiting"]
        assert conn.exec_driver_sql("SELECT count(*) FROM chord_parts").scalar_one() == 0
        assert conn.exec_driver_sql("SELECT count(*) FROM results").scalar_one() == 0
