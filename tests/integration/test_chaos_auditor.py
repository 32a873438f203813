"""The auditor of bench/chaos.py: silent about sound tasks, and each of its checks reports what was planted for it."""

from dataclasses import replace

import pytest

from bench.support.chaos.auditor import CHECKS, audit
from bench.support.chaos.graphs import Wanted
from bench.support.chaos.load import Accepted
from orchestrator.lifecycle import cancel
from orchestrator.models.verdict import Decision
from tests.integration.approval_kit import asked, decide, gated
from tests.integration.kit import TENANT, Engineer, verdict, wait_step
from tests.ledger import Line

LEASE_SECONDS = 15.0
OUTPUT = {"values": [7]}
OUTPUTS = {"a": OUTPUT, "b": OUTPUT}

# %(task)s is a completed task of the steps a and, behind it, b; %(cancelled)s one that was cancelled between them
PLANTED = {
    "task_lost": "DELETE FROM tasks WHERE id = %(task)s",
    "task_unasked": "UPDATE tasks SET contract = contract WHERE id = %(task)s",
    "task_open": "UPDATE tasks SET status = 'processing', phase = 'judging', finished_at = NULL WHERE id = %(task)s",
    "task_ended_wrong": "UPDATE tasks SET status = 'failed', error = '{}' WHERE id = %(task)s",
    "step_open": "UPDATE steps SET state = 'queued', finished_at = NULL, due = now() WHERE id = %(judge)s",
    "step_missing": "UPDATE steps SET state = 'skipped' WHERE id = %(b)s",
    "step_completed_twice": """
        WITH numbered AS (UPDATE tasks SET event_seq = event_seq + 1 WHERE id = %(task)s RETURNING event_seq)
        UPDATE events SET type = 'step.completed', payload = payload || jsonb_build_object('step_id', %(b)s::text)
        WHERE task_id = %(task)s AND type = 'task.planned'""",
    "step_recorded_twice": """
        INSERT INTO traces (task_id, round, kind, payload)
        SELECT task_id, round, kind, payload FROM traces WHERE kind = 'attempt' AND payload ->> 'step_id' = %(b)s""",
    "step_untold": """
        UPDATE events SET type = 'step.noticed' WHERE type = 'step.completed' AND payload ->> 'step_id' = %(b)s""",
    "result_orphaned": "INSERT INTO results (task_id, status) VALUES ('nobody', 'SUCCESS')",
    "output_wrong": """UPDATE steps SET result = jsonb_set(result, '{output,values,0}', '8') WHERE id = %(b)s""",
    "order_broken": """
        UPDATE events SET seq = 1000 + seq
        WHERE type = 'step.completed' AND payload ->> 'step_id' = %(a)s""",
    "item_miscounted": """
        UPDATE steps SET spec = spec || '{"part": "gather"}',
            result = jsonb_set(result, '{output}', '{"values": [7], "count": 1, "items": [null]}')
        WHERE id = %(b)s""",
    "gathered_early": """
        UPDATE steps SET parent = 'b', spec = spec || '{"part": "item"}', finished_at = now() + interval '1 hour'
        WHERE id = %(a)s""",
    "lease_taken": """
        UPDATE events SET payload = payload || '{"attempt": 2}', occurred_at = clock_timestamp()
        WHERE type = 'step.started' AND payload ->> 'step_id' = %(judge)s;
        UPDATE events SET type = 'step.started', occurred_at = clock_timestamp(),
            payload = jsonb_build_object('step_id', %(judge)s::text, 'attempt', 1)
        WHERE task_id = %(task)s AND type = 'task.planned'""",
    "start_untold": """
        UPDATE events SET type = 'step.noticed' WHERE type = 'step.started' AND payload ->> 'step_id' = %(b)s""",
    "attempt_doubled": """
        UPDATE events SET type = 'step.started', payload = jsonb_build_object('step_id', %(judge)s::text, 'attempt', 1)
        WHERE task_id = %(task)s AND type = 'task.planned'""",
    "judged_not_once": "UPDATE events SET type = 'judge.noticed' WHERE type = 'judge.verdict'",
    "ended_not_once": "UPDATE events SET type = 'task.failed' WHERE type = 'task.completed'",
    "event_gap": "DELETE FROM events WHERE task_id = %(task)s AND type = 'task.planned'",
    "chord_open": "UPDATE chords SET state = 'ready', ready_at = now() WHERE id = %(chord)s",
    "chord_miscounted": "UPDATE chords SET done = done - 1 WHERE id = %(chord)s",
    "chord_orphaned": "INSERT INTO chords (id, state) VALUES ('nobody''s', 'closed')",
    "budget_overspent": """
        INSERT INTO ledger (task_id, step_id, attempt, call, reserved_tokens, spent_tokens, settled_at)
        VALUES (%(task)s, %(a)s, 1, 1, 200000, 200000, now());
        UPDATE tasks SET tokens_used = 200000 WHERE id = %(task)s""",
    "reservation_open": """
        INSERT INTO ledger (task_id, step_id, attempt, call, reserved_tokens) VALUES (%(task)s, %(a)s, 1, 1, 5)""",
    "spending_unaccounted": "UPDATE tasks SET tokens_used = 1 WHERE id = %(task)s",
    # the lines of WRITTEN: by attempt 1 of a, twice
    "effect_twice": """UPDATE steps SET spec = spec || '{"once": true}' WHERE id = %(a)s""",
    "effect_lost": "UPDATE steps SET arm = 'ledger' WHERE id = %(b)s",
    "effect_unasked": """UPDATE steps SET spec = spec || '{"once": true}', attempt = 2 WHERE id = %(a)s""",
    "approval_open": """
        INSERT INTO approvals (id, tenant, task_id, step_id, step, round, kind, ask, allow, proposal, proposal_hash,
            expires_at, on_expiry)
        VALUES ('appr_0000000000000000', 'acme', %(task)s, %(a)s, 'a', 1, 'approval', 'may it?', '{approve}', '{}',
            repeat('0', 64), now(), 'reject')""",
    "resent_in_calm": "UPDATE steps SET sends = 2 WHERE id IN (%(a)s, %(b)s)",
    "approval_skipped": """
        UPDATE approvals SET state = 'withdrawn', decided_by = NULL WHERE task_id = %(task)s""",
    "approval_ignored": "UPDATE approvals SET state = 'rejected' WHERE task_id = %(task)s",
    "approval_by_nobody": """
        UPDATE events SET payload = payload || '{"decided_by": null}'
        WHERE task_id = %(task)s AND type = 'approval.decided'""",
    "pool_left": """
        INSERT INTO pools (node, queue, arm, concurrency, version, registry_digest)
        VALUES ('coder.1@here/arm.coder', 'arm.coder', 'coder', 2, '1', 'x')""",
}


@pytest.fixture
def accepted(engineer: Engineer) -> list[Accepted]:
    """What a client was told of two sound tasks: one has completed, one was cancelled after its first step."""
    completed = engineer.start(gated("a"), wait_step("b", "a"))
    decide(engineer, asked(engineer, completed, "a"))
    engineer.do(completed, "a", output=OUTPUT)
    engineer.do(completed, "b", output=OUTPUT)
    engineer.judge(completed, verdict(Decision.PASSED))
    cancelled = engineer.start(wait_step("a"), wait_step("b", "a"))
    engineer.do(cancelled, "a", output=OUTPUT)
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=cancelled)
    return [
        Accepted(completed, Wanted("graph", {}, outputs=OUTPUTS)),
        Accepted(cancelled, Wanted("cancelled", {}, statuses=("cancelled",))),
    ]


def found(engineer: Engineer, accepted: list[Accepted]) -> set[str]:
    """The names of the checks that report something."""
    calm = [one.task_id for one in accepted]
    steps = engineer.ask("SELECT id FROM steps WHERE name = 'a'")
    written = [Line(step["id"], 1, "a") for step in steps for _ in range(2)]
    violations = audit(
        engineer.engine,
        accepted,
        calm=calm,
        effects=written,
        lease_seconds=LEASE_SECONDS,
        is_stopped=True,
    )
    return {violation.check for violation in violations}


def test_sound_tasks_break_nothing(engineer: Engineer, accepted: list[Accepted]) -> None:
    assert found(engineer, accepted) == set()


def test_every_check_has_something_planted_for_it() -> None:
    assert set(PLANTED) == set(CHECKS)


@pytest.mark.parametrize("check", PLANTED)
def test_what_is_planted_is_reported(engineer: Engineer, accepted: list[Accepted], check: str) -> None:
    task_id = accepted[0].task_id
    names = {name: engineer.row(task_id, name)["id"] for name in ("a", "b", "$judge")}
    values = {"a": names["a"], "b": names["b"], "judge": names["$judge"], "task": task_id}
    engineer.ask(PLANTED[check], chord=engineer.chord_of(task_id)["id"], **values)
    if check == "task_unasked":
        accepted = accepted[1:]

    assert check in found(engineer, accepted)


def test_a_task_that_may_end_in_two_ways_may_end_in_either(
    engineer: Engineer, accepted: list[Accepted]
) -> None:
    either = [
        replace(one, wanted=replace(one.wanted, statuses=("completed", "cancelled"))) for one in accepted
    ]

    assert found(engineer, either) == set()
