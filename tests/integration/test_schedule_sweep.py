"""Schedules that the sweeper fires: once for each time, whatever happens at the same time."""

from dataclasses import replace
from datetime import UTC, timedelta

import pytest

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.lifecycle import schedule_fires
from orchestrator.memory import files, keys
from orchestrator.models.task_contract import Contract, Priority
from orchestrator.models.verdict import Decision
from tests.integration.conftest import Login
from tests.integration.kit import TENANT, Engineer, wait_step
from tests.integration.schedule_kit import MINUTE, Clerk, at_once
from workers.sweeper import Sweeper


@pytest.fixture
def clerk(engineer: Engineer) -> Clerk:
    """One who schedules for `engineer`'s tenant."""
    return Clerk(engineer)


def test_a_schedule_whose_time_has_come_starts_one_task(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    at = clerk.let_come(schedule)

    sweeper.fire_schedules()
    sweeper.fire_schedules()

    [task] = clerk.tasks(schedule)
    [event] = clerk.events(schedule)
    assert (event.type, event.kind, event.scheduled_at) == ("fire.started", "scheduled", at)
    assert (event.task_id, event.task_status) == (task["id"], "queued")
    assert (task["tenant"], task["key_id"], task["scheduled_at"]) == (TENANT, clerk.key.id, at)
    assert task["request_id"] == f"schedule:{schedule.id}:{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert clerk.now(schedule).next_at == at + MINUTE
    [decision] = clerk.engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(id)s AND kind = 'schedule'", id=task["id"]
    )
    assert decision["payload"]["schedule_id"] == schedule.id


def test_a_task_of_a_schedule_can_be_planned_and_done(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    clerk.let_come(schedule)
    sweeper.fire_schedules()
    [task] = clerk.tasks(schedule)

    clerk.engineer.plan(task["id"])
    clerk.engineer.do(task["id"], "a")

    assert clerk.engineer.row(task["id"], "a")["state"] == "done"


def test_two_sweepers_at_once_start_one_task(clerk: Clerk, sweeper: Sweeper) -> None:
    made = [clerk.make(overlap="allow") for _ in range(4)]
    for schedule in made:
        clerk.let_come(schedule)

    at_once(sweeper.fire_schedules, 4)

    assert [len(clerk.tasks(schedule)) for schedule in made] == [1, 1, 1, 1]
    assert {event.type for schedule in made for event in clerk.events(schedule)} == {"fire.started"}


def test_a_schedule_in_its_pause_or_before_its_time_starts_none(clerk: Clerk, sweeper: Sweeper) -> None:
    paused, early = clerk.make(paused=True), clerk.make()
    clerk.let_come(paused)

    sweeper.fire_schedules()

    assert clerk.tasks(paused) == clerk.tasks(early) == []
    assert clerk.events(paused) == clerk.events(early) == []


def test_an_outage_within_the_window_starts_the_newest_time_and_says_what_it_missed(
    clerk: Clerk, sweeper: Sweeper
) -> None:
    schedule = clerk.make()
    at = clerk.let_come(schedule, ago=5 * MINUTE + timedelta(seconds=1))

    sweeper.fire_schedules()

    [task] = clerk.tasks(schedule)
    skipped, started = clerk.events(schedule)
    assert task["scheduled_at"] == started.scheduled_at == at + 5 * MINUTE
    assert (skipped.type, skipped.reason, skipped.scheduled_at) == ("fire.skipped", "catchup", at)
    assert clerk.now(schedule).next_at == at + 6 * MINUTE


def test_a_longer_outage_starts_nothing_and_says_so(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make(every_seconds=86_400)
    clerk.let_come(schedule, ago=timedelta(hours=1))

    sweeper.fire_schedules()
    sweeper.fire_schedules()

    [skipped] = clerk.events(schedule)
    assert (skipped.type, skipped.reason) == ("fire.skipped", "catchup")
    assert clerk.tasks(schedule) == []
    assert clerk.now(schedule).state == "active"


def test_the_last_time_ends_a_schedule(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    clerk.let_come(schedule)
    clerk.engineer.ask("UPDATE schedules SET ends_at = now() RETURNING id")

    sweeper.fire_schedules()
    sweeper.fire_schedules()

    assert len(clerk.tasks(schedule)) == 1
    assert clerk.now(schedule).state == "ended"


def test_skip_starts_nothing_while_the_earlier_task_is_open(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make(overlap="skip")
    clerk.fire(schedule, sweeper)

    clerk.fire(schedule, sweeper)

    [task] = clerk.tasks(schedule)
    _, skipped = clerk.events(schedule)
    assert (skipped.type, skipped.reason) == ("fire.skipped", "overlap")
    assert task["id"] in skipped.payload["detail"]


def test_queue_one_lets_one_wait_until_the_earlier_task_has_ended(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make(overlap="queue_one")
    clerk.fire(schedule, sweeper)
    second = clerk.fire(schedule, sweeper)
    clerk.fire(schedule, sweeper)
    waiting = clerk.now(schedule).waiting

    clerk.end(clerk.tasks(schedule)[0]["id"])
    at_once(sweeper.fire_schedules, 2)

    assert waiting == 1
    assert [event.type for event in clerk.events(schedule)] == [
        "fire.started",
        "fire.waiting",
        "fire.skipped",
        "fire.started",
    ]
    assert [task["scheduled_at"] for task in clerk.tasks(schedule)][1:] == [second]
    assert clerk.now(schedule).waiting == 0


def test_cancel_other_cancels_the_earlier_task(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make(overlap="cancel_other")
    clerk.fire(schedule, sweeper)

    clerk.fire(schedule, sweeper)

    first, second = clerk.tasks(schedule)
    assert (first["status"], second["status"]) == ("cancelled", "queued")
    assert schedule.name in first["error"]["message"]


def test_cancel_other_cancels_nothing_for_a_time_that_starts_none(clerk: Clerk, sweeper: Sweeper) -> None:
    """The reasons not to start a task are looked for before another one is ended."""
    schedule = clerk.make(overlap="cancel_other")
    clerk.fire(schedule, sweeper)
    with statement(clerk.engineer.engine) as conn:
        keys.revoke(conn, clerk.key.id)

    clerk.fire(schedule, sweeper)

    [task] = clerk.tasks(schedule)
    assert task["status"] == "queued"
    assert clerk.now(schedule).paused_reason == "key_lost"


def test_allow_lets_both_run(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make(overlap="allow")
    clerk.fire(schedule, sweeper)

    clerk.fire(schedule, sweeper)

    assert [task["status"] for task in clerk.tasks(schedule)] == ["queued", "queued"]


def test_without_its_key_a_schedule_pauses_and_says_so(clerk: Clerk, sweeper: Sweeper) -> None:
    revoked, expired, foreign = clerk.make(), clerk.make(), clerk.make()
    for schedule in (revoked, expired, foreign):
        clerk.let_come(schedule)
    with statement(clerk.engineer.engine) as conn:
        other, _ = keys.create(conn, tenant="umbrella", scopes=["all"])
        old, _ = keys.create(conn, tenant=TENANT, scopes=["all"])
    clerk.engineer.ask("UPDATE api_keys SET expires_at = now() WHERE id = %(id)s RETURNING id", id=old.id)
    clerk.own(expired, old.id)
    clerk.own(foreign, other.id)
    with statement(clerk.engineer.engine) as conn:
        keys.revoke(conn, clerk.key.id)

    sweeper.fire_schedules()
    sweeper.fire_schedules()

    for schedule in (revoked, expired, foreign):
        [event] = clerk.events(schedule)
        assert (event.type, event.reason) == ("schedule.paused", "key_lost")
        assert clerk.tasks(schedule) == []


def test_a_key_without_the_scope_can_not_start_a_task(clerk: Clerk, sweeper: Sweeper) -> None:
    """A key that may submit may not submit critical tasks, and one that may only read starts none at all."""
    plan = {"steps": [wait_step("a")]}
    critical = clerk.make(contract=Contract(goal="g", plan=plan, priority=Priority.CRITICAL))
    other = clerk.make()
    with statement(clerk.engineer.engine) as conn:
        reader, _ = keys.create(conn, tenant=TENANT, scopes=["task:read", "task:critical"])
    clerk.own(other, reader.id)
    for schedule in (critical, other):
        clerk.let_come(schedule)

    sweeper.fire_schedules()

    assert [clerk.now(schedule).paused_reason for schedule in (critical, other)] == ["key_lost"] * 2
    assert clerk.tasks(critical) == clerk.tasks(other) == []


def test_a_rotated_key_leaves_its_schedules_to_its_successor(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    with statement(clerk.engineer.engine) as conn:
        rotated = keys.rotate(conn, clerk.key.id, overlap_seconds=0)

    clerk.fire(schedule, sweeper)

    [task] = clerk.tasks(schedule)
    assert rotated is not None
    assert task["key_id"] == rotated[0].id != clerk.key.id


def test_failures_in_a_row_pause_a_schedule_until_it_is_resumed(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make(pause_after_failures=2)
    for decision in (Decision.FAILED, Decision.PASSED, Decision.FAILED, Decision.FAILED):
        clerk.fire(schedule, sweeper)
        clerk.end(clerk.tasks(schedule)[-1]["id"], decision)

    clerk.fire(schedule, sweeper)
    paused = clerk.now(schedule)
    clerk.book.resume(schedule.id)
    clerk.fire(schedule, sweeper)

    assert (paused.state, paused.paused_reason) == ("paused", "failures")
    assert [event.type for event in clerk.events(schedule)][-3:] == [
        "schedule.paused",
        "schedule.resumed",
        "fire.started",
    ]
    assert len(clerk.tasks(schedule)) == 5


def test_a_contract_that_is_not_legal_any_more_is_skipped_with_the_reason(
    clerk: Clerk, sweeper: Sweeper
) -> None:
    with statement(clerk.engineer.engine) as conn:
        file = files.put(conn, TENANT, filename="a", media_type="text/plain", content=b"a")
    schedule = clerk.make(
        contract=Contract(goal="g", plan={"steps": [wait_step("a")]}, attachments=(file.sha256,))
    )
    clerk.engineer.ask("DELETE FROM artifacts RETURNING sha256")

    clerk.fire(schedule, sweeper)

    [skipped] = clerk.events(schedule)
    assert (skipped.type, skipped.reason) == ("fire.skipped", schedule_fires.REFUSED)
    assert file.sha256 in skipped.payload["detail"]
    assert clerk.now(schedule).state == "active"


def test_a_tenant_without_room_skips_and_another_one_starts(engineer: Engineer, sweeper: Sweeper) -> None:
    full, other = Clerk(engineer), Clerk(engineer, tenant="umbrella")
    engineer.submit(wait_step("a"))
    schedules = [full.make(), other.make(overlap="skip")]
    full.let_come(schedules[0])
    other.let_come(schedules[1])
    worker: WorkerProcess = sweeper._worker
    limited = Sweeper(replace(worker, settings=replace(worker.settings, max_open_tasks=1)), sweeper._broker)

    limited.fire_schedules()

    [skipped] = full.events(schedules[0])
    assert (skipped.type, skipped.reason) == ("fire.skipped", "too_many_tasks")
    assert len(other.tasks(schedules[1])) == 1


def test_a_fire_that_fails_unexpectedly_does_not_hold_up_the_schedules_behind_it(
    clerk: Clerk, sweeper: Sweeper
) -> None:
    broken, behind = clerk.make(), clerk.make()
    clerk.engineer.ask(
        "UPDATE schedules SET contract = contract - 'goal' WHERE id = %(id)s RETURNING id", id=broken.id
    )
    clerk.let_come(broken, ago=MINUTE)
    clerk.let_come(behind)

    sweeper.fire_schedules()

    [skipped] = clerk.events(broken)
    assert (skipped.type, skipped.reason) == ("fire.skipped", "error")
    assert len(clerk.tasks(behind)) == 1


def test_who_has_read_an_older_contract_starts_nothing(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    clerk.let_come(schedule)
    read = clerk.now(schedule)
    clerk.book.change(schedule.id, {"name": "another"})
    clerk.let_come(schedule)

    fired = sweeper._schedules._firing.fire_due(read)

    assert (fired.outcome, clerk.tasks(schedule)) == ("changed", [])


def test_a_backfill_starts_one_task_after_the_other_and_none_twice(clerk: Clerk, sweeper: Sweeper) -> None:
    schedule = clerk.make()
    at = clerk.fire(schedule, sweeper)
    clerk.end(clerk.tasks(schedule)[0]["id"])
    since, until = at - 2 * MINUTE, at

    previewed = clerk.book.backfill_preview(schedule.id, since, until)
    clerk.book.backfill(schedule.id, since, until)
    clerk.book.backfill(schedule.id, since, until)
    counts = []
    for _ in range(3):
        at_once(sweeper.fire_schedules, 2)
        counts.append(len(clerk.tasks(schedule)))
        if clerk.tasks(schedule)[-1]["finished_at"] is None:
            clerk.end(clerk.tasks(schedule)[-1]["id"])

    assert previewed == [since, since + MINUTE]
    assert counts == [2, 3, 3]
    assert [task["scheduled_at"] for task in clerk.tasks(schedule)][1:] == previewed


def test_old_events_are_deleted_and_the_files_of_a_schedule_are_kept(clerk: Clerk, sweeper: Sweeper) -> None:
    with statement(clerk.engineer.engine) as conn:
        kept = files.put(conn, TENANT, filename="a", media_type="text/plain", content=b"a")
        files.put(conn, TENANT, filename="b", media_type="text/plain", content=b"b")
    plan = {"steps": [wait_step("a")]}
    schedule = clerk.make(contract=Contract(goal="g", plan=plan, attachments=(kept.sha256,)))
    clerk.fire(schedule, sweeper)
    clerk.engineer.ask("DELETE FROM tasks RETURNING id")
    clerk.engineer.ask("UPDATE schedule_events SET occurred_at = now() - interval '31 days' RETURNING id")
    clerk.engineer.ask("UPDATE artifacts SET created_at = now() - interval '31 days' RETURNING sha256")

    sweeper.forget_old()

    assert clerk.events(schedule) == []
    assert clerk.engineer.ask("SELECT sha256 FROM artifacts") == [{"sha256": kept.sha256}]


def test_a_sweeper_with_the_rights_of_its_kind_only_fires(
    clerk: Clerk, sweeper: Sweeper, login: Login
) -> None:
    worker: WorkerProcess = sweeper._worker
    limited = Sweeper(replace(worker, engine=login("sweeper")), sweeper._broker)
    schedule = clerk.make(overlap="cancel_other")
    clerk.let_come(schedule)

    limited.fire_schedules()
    clerk.let_come(schedule)
    limited.fire_schedules()

    assert [task["status"] for task in clerk.tasks(schedule)] == ["cancelled", "queued"]
