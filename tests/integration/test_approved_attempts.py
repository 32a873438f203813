"""An attempt at a step with a gate does what was approved, with the inputs that a person edited, and nothing else."""

import pytest

from orchestrator.models.approval import Verb
from tests.integration.approval_kit import asked, decide, gated, sweep, sweeping
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import Engineer
from workers.attempt.context import AttemptContext


def test_the_attempt_runs_what_was_approved_and_says_who_approved_it(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))
    decide(engineer, asked(engineer, task_id, "a"))

    result = run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, "a")))

    assert result.error is None
    assert result.provenance["approval"]["by"] == "ann"


def test_the_attempt_uses_the_inputs_that_a_person_edited(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a", inputs={"seconds": 300}))
    decide(engineer, asked(engineer, task_id, "a"), Verb.EDIT, value={"seconds": 0})

    result = run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, "a")))

    assert (result.error, result.output["seconds"]) == (None, 0)


def test_the_attempt_refuses_what_was_not_approved(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))
    decide(engineer, asked(engineer, task_id, "a"))
    claim = engineer.take(task_id, "a")
    claim.spec["inputs"] = {"seconds": 1}

    result = run_step(AttemptContext.of(process_of(engineer), claim))

    assert result.error is not None
    assert (result.error["code"], result.error["retryable"]) == ("approval_rejected", False)
    assert "differ from what was approved" in result.error["message"]


def test_the_attempt_refuses_what_was_not_shown_though_the_hash_is_right(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a", inputs={"seconds": 0.5}))
    approval = asked(engineer, task_id, "a")
    engineer.ask(
        "UPDATE approvals SET proposal = jsonb_set(proposal, '{inputs,seconds}', '0') WHERE id = %(id)s",
        id=approval.id,
    )
    decide(engineer, approval)

    result = run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, "a")))

    assert result.error is not None
    assert result.error["code"] == "approval_rejected"


@pytest.mark.parametrize("number", [1e22, 1e23, -0.0, 5e-324, 0.1 + 0.2, 2**53 + 1, 1.0])
def test_a_number_is_the_same_after_postgres_has_kept_it(engineer: Engineer, number: float) -> None:
    values = {"n": [number, True, None, "x"]}
    step = {**gated("a"), "arm": "retriever", "action": "collect", "inputs": {"values": values}}
    task_id = engineer.start(step)
    decide(engineer, asked(engineer, task_id, "a"))

    result = run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, "a")))

    assert result.error is None


def test_a_step_that_was_queued_without_an_approval_does_not_run(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))
    engineer.ask(
        "UPDATE steps SET state = 'queued', gate = 'open', due = now() WHERE id = %(id)s",
        id=engineer.row(task_id, "a")["id"],
    )

    result = run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, "a")))

    assert result.error is not None
    assert result.error["code"] == "approval_rejected"


def test_an_arm_that_gets_the_message_of_a_rejected_step_stores_the_rejection(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))
    decide(engineer, asked(engineer, task_id, "a"), Verb.REJECT)
    claim = engineer.take(task_id, "a")

    result = run_step(AttemptContext.of(process_of(engineer), claim))
    engineer.store(claim, result)

    assert result.error is not None
    assert result.error["code"] == "approval_rejected"
    worker = sweeping(engineer)
    assert (sweep(worker), sweep(worker)) == (1, 0)
