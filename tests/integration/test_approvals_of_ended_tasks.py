"""The approvals of a task that ends are withdrawn, also those that a process of 0.3 left pending, and nothing runs."""

from typing import Any

import pytest

from orchestrator.lifecycle import cancel
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.models.approval import Verb
from orchestrator.models.errors import AlreadyDecided
from tests.integration.approval_kit import asked, decide, gated, kinds, let_expire, sweep, sweeping
from tests.integration.kit import TENANT, Engineer


def end_as_0_3(engineer: Engineer, **approval: Any) -> ApprovalRecord:
    """Return a pending approval of a waiting step whose task has ended: 0.3 does not know the state `waiting`."""
    task_id = engineer.start(gated("a", **approval))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    engineer.ask(
        "UPDATE approvals SET state = 'pending', decided_at = NULL, settled = false WHERE task_id = %(id)s",
        id=task_id,
    )
    engineer.ask(
        "UPDATE steps SET state = 'waiting', finished_at = NULL WHERE task_id = %(id)s AND name = 'a'",
        id=task_id,
    )
    return asked(engineer, task_id, "a")


def assert_withdrawn(engineer: Engineer, approval: ApprovalRecord) -> None:
    assert asked(engineer, approval.task_id, "a").state == "withdrawn"
    assert engineer.states(approval.task_id)["a"] == "cancelled"
    assert "approval.decided" not in kinds(engineer, approval.task_id)
    assert engineer.events(approval.task_id)[-1].type == "task.cancelled"


@pytest.mark.parametrize("verb", [Verb.APPROVE, Verb.REJECT])
def test_a_decision_is_refused_because_the_task_has_ended(engineer: Engineer, verb: Verb) -> None:
    approval = end_as_0_3(engineer)

    for _ in range(2):
        with pytest.raises(AlreadyDecided, match="its task has ended") as refused:
            decide(engineer, approval, verb)
        assert refused.value.details["state"] == "withdrawn"

    assert_withdrawn(engineer, approval)


@pytest.mark.parametrize("rule", ["approve", "reject", "fail"])
def test_an_expiry_withdraws_it_whatever_its_rule(engineer: Engineer, rule: str) -> None:
    worker = sweeping(engineer)
    approval = end_as_0_3(engineer, on_expiry=rule)
    let_expire(engineer, approval)

    assert [sweep(worker), sweep(worker)] == [1, 0]

    assert_withdrawn(engineer, approval)


def test_nobody_is_warned_of_its_expiry(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    approval = end_as_0_3(engineer)
    engineer.ask("UPDATE approvals SET warn_at = now() WHERE id = %(id)s", id=approval.id)

    assert [sweep(worker), sweep(worker)] == [1, 0]

    assert "approval.expiring" not in kinds(engineer, approval.task_id)
    assert_withdrawn(engineer, approval)


@pytest.mark.parametrize("state", ["waiting", "queued"])
def test_a_decision_is_settled_when_the_task_has_ended_whatever_its_step_is(
    engineer: Engineer, state: str
) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a"))
    decide(engineer, asked(engineer, task_id, "a"), Verb.REJECT)
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
    engineer.ask(
        """UPDATE steps SET state = %(state)s, due = CASE WHEN %(state)s = 'queued' THEN now() END, finished_at = NULL
           WHERE task_id = %(id)s AND name = 'a'""",
        id=task_id,
        state=state,
    )

    assert [sweep(worker), sweep(worker)] == [1, 0]


def test_cancel_withdraws_what_is_pending_and_closes_the_waiting_row(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"), gated("b"))
    first = asked(engineer, task_id, "a")
    decide(engineer, first)

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    assert asked(engineer, task_id, "a").state == "approved"
    withdrawn = asked(engineer, task_id, "b")
    assert (withdrawn.state, withdrawn.decided_by) == ("withdrawn", None)
    assert engineer.states(task_id) == {
        "$plan": "done",
        "a": "cancelled",
        "b": "cancelled",
        "$judge": "cancelled",
    }
    assert [*kinds(engineer, task_id)].count("approval.withdrawn") == 1
    with pytest.raises(AlreadyDecided):
        decide(engineer, withdrawn)
