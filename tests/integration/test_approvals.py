"""A step that a person must approve waits in Postgres until one decision, or its expiry, lets it go on."""

from typing import Any

from orchestrator.chord.database import statement
from orchestrator.lifecycle import approvals
from orchestrator.memory.approvals import ApprovalRecord, list_approvals
from orchestrator.models.approval import Decision, Verb
from orchestrator.models.verdict import Decision as Judgement
from tests.integration.kit import TENANT, Engineer, verdict, wait_step


def gated(name: str, *after: str, **approval: Any) -> dict[str, Any]:
    """A step that asks before it runs."""
    return wait_step(name, *after, approval={"ask": f"run {name}?", **approval})


def asked(engineer: Engineer, task_id: str, step: str) -> ApprovalRecord:
    """Return the newest approval of a step."""
    with statement(engineer.engine) as conn:
        return next(one for one in list_approvals(conn, TENANT, task_id=task_id) if one.step == step)


def decide(
    engineer: Engineer, approval: ApprovalRecord, verb: Verb = Verb.APPROVE, **more: Any
) -> approvals.DecisionMade:
    return approvals.decide(
        engineer.engine,
        tenant=TENANT,
        approval_id=approval.id,
        decision=Decision(verb, by="ann", via="api", **more),
        settings=engineer.settings,
    )


def test_a_root_with_a_gate_waits_and_runs_when_it_is_approved(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))

    assert engineer.states(task_id)["a"] == "waiting"
    assert engineer.claim(task_id, "a") is None
    made = decide(engineer, asked(engineer, task_id, "a"))

    assert [message.name for message in made.messages] == ["a"]
    assert made.approval.state == "approved"
    assert made.approval.decided_by == "ann"
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Judgement.PASSED))
    assert engineer.task(task_id).status == "completed"


def test_a_later_step_waits_when_it_would_be_released(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), gated("b", "a"), wait_step("c"))
    assert engineer.states(task_id)["b"] == "blocked"

    engineer.do(task_id, "c")
    completion = engineer.do(task_id, "a")

    assert [row.state for row in completion.released] == ["waiting"]
    assert engineer.states(task_id)["b"] == "waiting"
    assert engineer.states(task_id)["$judge"] == "blocked"
    assert engineer.chord_of(task_id)["state"] == "open"
    decide(engineer, asked(engineer, task_id, "b"))
    engineer.do(task_id, "b")
    assert engineer.chord_of(task_id)["state"] == "ready"
