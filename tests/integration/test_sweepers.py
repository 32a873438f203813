"""Three concurrent sweepers repair each fault exactly once."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
import structlog
from sqlalchemy import event

from orchestrator.bootstrap import WorkerProcess
from orchestrator.lifecycle import requeue
from orchestrator.memory.hints import Hints
from orchestrator.models.verdict import Decision
from orchestrator.process.process_kind import environment_of
from orchestrator.queue import canvas
from tests.integration.kit import Engineer, verdict, wait_step
from tests.waiting import wait_until
from workers.runtime import process
from workers.sweeper import BATCH, Sweeper
from workers.tasks import app

SWEEPERS = 3
EACH = 8
_LATE = "now() - interval '31 days'"


@pytest.fixture
def broker(redis_url: str) -> Iterator["redis.Redis"]:
    """The broker as an operator sees it."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def sweepers(engineer: Engineer, broker: "redis.Redis") -> list[Sweeper]:
    """Sweepers that have set the broker's epoch and been connected for longer than a lease."""
    process.start(app, service="tests")
    settings = replace(engineer.settings, lease_seconds=0.05, heartbeat_seconds=0.01)
    worker = WorkerProcess(settings, engineer.engine, Hints(settings.redis_url), app, owner="sweeper")
    made = [Sweeper(worker, broker) for _ in range(SWEEPERS)]
    made[0].queue_again_after_flush()
    wait_until(
        lambda: not made[-1]._is_too_soon(1e9), 5, "the sweepers to be connected for longer than a lease"
    )
    return made


def test_three_sweepers_repair_each_fault_once(
    engineer: Engineer, sweepers: list[Sweeper], broker: "redis.Redis"
) -> None:
    leases = _many(lambda: _with_expired_lease(engineer))
    poisoned = _many(lambda: _with_poison(engineer))
    late = _many(lambda: _past_deadline(engineer))
    ready = _many(lambda: _with_ready_chord(engineer))
    old = _many(lambda: _old(engineer))
    lost = _many(lambda: engineer.start(wait_step("a")))
    engineer.ask(
        "UPDATE steps SET due = now() WHERE state = 'queued' AND task_id = ANY(%(ids)s)",
        ids=[*lost, *poisoned],
    )
    # on a busy machine the rows above can take REDISPATCH_SECONDS; a judge's message must not be sent again here
    engineer.ask(
        "UPDATE steps SET due = now() + interval '1 hour' WHERE kind = 'judge' AND task_id = ANY(%(ids)s)",
        ids=ready,
    )

    with structlog.testing.capture_logs() as logged:
        _at_once([sweeper.tick for sweeper in sweepers for _ in range(2)])

    assert [line for line in logged if line["event"] == "sweep.failed"] == []
    assert {_event_counts(engineer, task_id)["step.retrying"] for task_id in leases} == {1}
    assert {engineer.row(task_id, "a")["kills"] for task_id in leases} == {1}
    assert {_event_counts(engineer, task_id)["step.failed"] for task_id in poisoned} == {1}
    assert {engineer.chord_of(task_id)["done"] for task_id in poisoned} == {1}
    assert {_event_counts(engineer, task_id)["task.failed"] for task_id in late} == {1}
    assert {engineer.chord_of(task_id)["state"] for task_id in ready} == {"fired"}
    assert engineer.ask("SELECT id FROM tasks WHERE id = ANY(%(ids)s)", ids=old) == []
    assert broker.llen("arm.executor\x06\x166") == len(leases) + len(lost)
    # the chords that were ready, and those that became ready when the poisoned steps were given up
    assert broker.llen("judge\x06\x166") == len(ready) + len(poisoned)


def test_a_sweep_takes_no_more_than_a_batch(engineer: Engineer, sweepers: list[Sweeper]) -> None:
    task_id = engineer.start(wait_step("a"))
    engineer.ask(
        """INSERT INTO steps (id, task_id, round, kind, name, arm, queue, priority, chord_id, spec, state, due)
           SELECT 'copy' || n, task_id, round, kind, 'copy' || n, arm, queue, priority, chord_id, spec, state, now()
           FROM steps, generate_series(1, %(count)s) n WHERE task_id = %(id)s AND name = 'a'""",
        id=task_id,
        count=BATCH + 5,
    )

    counts = [sweepers[0].publish_due().taken, sweepers[1].publish_due().taken]

    assert counts == [BATCH, 5]


def test_a_row_of_a_newer_release_is_published_like_any_other(
    engineer: Engineer, sweepers: list[Sweeper], broker: "redis.Redis"
) -> None:
    """An action that this release does not have keeps neither its row nor other rows from being published."""
    task_id = engineer.start(wait_step("a"), wait_step("b"))
    engineer.ask("UPDATE steps SET due = now() WHERE state = 'queued' AND task_id = %(id)s", id=task_id)
    engineer.ask("UPDATE steps SET spec = jsonb_set(spec, '{action}', '\"newer\"') WHERE name = 'a'")

    sweepers[0].publish_due()

    assert broker.llen("arm.executor\x06\x166") == 2


def test_a_sweeper_without_the_secret_of_the_cache_gives_up_a_poison_step(
    engineer: Engineer, sweepers: list[Sweeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = _with_poison(engineer)
    _get_only_secrets_of_a_sweeper(monkeypatch)
    process.start(app, service="sweeper")

    sweepers[0].give_up_poison()

    assert engineer.row(task_id, "a")["state"] == "failed"


def _get_only_secrets_of_a_sweeper(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = environment_of("sweeper", os.environ)
    for name in os.environ.keys() - environ.keys():
        monkeypatch.delenv(name)
    for name, text in environ.items():
        monkeypatch.setenv(name, text)


def _many(make: Callable[[], str]) -> list[str]:
    return [make() for _ in range(EACH)]


def _with_expired_lease(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.take(task_id, "a", lease_seconds=0)
    return task_id


def _with_poison(engineer: Engineer) -> str:
    task_id = _with_body(engineer)
    for _ in range(engineer.settings.poison_step):
        claim = engineer.take(task_id, "a", owner="host:1")
        requeue.hand_back(engineer.engine, claim.id, task_id=task_id, owner="host:1", died=True)
    return task_id


def _past_deadline(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.ask("UPDATE tasks SET deadline_at = now() WHERE id = %(id)s", id=task_id)
    return task_id


def _with_ready_chord(engineer: Engineer) -> str:
    """Finish the only step without publishing the judge's message, as a worker that died would."""
    task_id = _with_body(engineer)
    engineer.do(task_id, "a")
    engineer.ask("UPDATE chords SET ready_at = now() - interval '5 seconds' WHERE state = 'ready'")
    return task_id


def _with_body(engineer: Engineer) -> str:
    """Start a task whose chord body is the judge's message, as the backend writes it."""
    task_id = engineer.submit(wait_step("a"))
    saved = engineer.plan(task_id)
    backend: Any = app.backend
    engineer.ask(
        "UPDATE chords SET body = %(body)s WHERE id = %(id)s",
        id=saved.chord_id,
        body=backend.to_bytes(canvas.signature(app, saved.judge)),
    )
    return task_id


def _old(engineer: Engineer) -> str:
    task_id = engineer.start(wait_step("a"))
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    engineer.ask(f"UPDATE tasks SET finished_at = {_LATE} WHERE id = %(id)s", id=task_id)
    return task_id


def _event_counts(engineer: Engineer, task_id: str) -> Counter[str]:
    return Counter(event.type for event in engineer.events(task_id))


def _at_once(works: list[Callable[[], object]]) -> None:
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait()
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_sweep_that_found_nothing_to_delete_rests_while_the_others_go_on(
    engineer: Engineer, sweepers: list[Sweeper]
) -> None:
    sent: list[str] = []

    def note(_conn: object, _cursor: object, text: str, *_: object) -> None:
        sent.append(text)

    event.listen(engineer.engine, "before_cursor_execute", note)
    sweepers[0].tick()
    first = [text for text in sent if "DELETE" in text]
    sent.clear()
    sweepers[0].tick()
    event.remove(engineer.engine, "before_cursor_execute", note)

    assert len(first) >= 4, first
    assert [text for text in sent if "DELETE" in text] == []
    assert len(sent) <= 10, sent
