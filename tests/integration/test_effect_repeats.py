"""A repair and a retry keep what was written, and ask before an effect happens a second time."""

from dataclasses import replace

import pytest

from orchestrator.bootstrap import WorkerProcess
from orchestrator.lifecycle import cancel
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.models.approval import Verb
from orchestrator.models.verdict import Decision as Verdict
from tests.integration.approval_kit import asked, decide
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.effect_kit import begin
from tests.integration.kit import TENANT, Engineer, done, failed, verdict, wait_step
from tests.ledger import Ledger, append
from workers.attempt.context import AttemptContext

pytestmark = pytest.mark.usefixtures("ledger")


@pytest.fixture
def worker(engineer: Engineer) -> WorkerProcess:
    """A worker's process."""
    return process_of(engineer)


def reject_the_round(engineer: Engineer, task_id: str, *faulty: str) -> None:
    """Let the judge find fault with steps, so that a repair runs them again."""
    rejected = replace(verdict(Verdict.FAILED), faulty=dict.fromkeys(faulty, "it is wrong"))
    assert isinstance(engineer.judge(task_id, rejected), SavedRound)


def test_a_repair_that_would_repeat_an_effect_asks_first(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger
) -> None:
    faulty = wait_step("draft", repair_inputs={"seconds": 0})
    task_id = engineer.start(faulty, append("send", "draft"), append("put", "draft", action="put"))
    engineer.do(task_id, "draft")
    for name in ("send", "put"):
        claim = engineer.take(task_id, name)
        engineer.store(claim, run_step(AttemptContext.of(worker, claim)))

    reject_the_round(engineer, task_id, "draft")
    engineer.do(task_id, "draft")

    assert engineer.states(task_id) == {
        "$plan": "done", "draft": "done", "send": "waiting", "put": "queued", "$judge": "blocked",
    }  # fmt: skip
    question = asked(engineer, task_id, "send")
    assert (question.kind, question.on_expiry) == ("approval", "reject")
    decide(engineer, question, Verb.APPROVE)
    engineer.take(task_id, "send")
    assert [line.text for line in ledger.lines()] == ["send", "put"]


def test_a_repair_runs_a_write_again_that_is_known_to_have_failed(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    task_id = engineer.start({**append("a", then="fail"), "repair_inputs": {"then": "end"}})
    claim = engineer.take(task_id, "a")
    engineer.store(claim, run_step(AttemptContext.of(worker, claim)))

    reject_the_round(engineer, task_id, "a")

    assert engineer.row(task_id, "a")["state"] == "queued"


@pytest.mark.parametrize("by", ["repair", "retry"])
def test_a_write_that_failed_and_may_have_acted_asks_before_it_runs_again(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger, by: str
) -> None:
    task_id = engineer.start({**append("a", then="report"), "repair_inputs": {"then": "end"}})
    claim = engineer.take(task_id, "a")
    engineer.store(claim, run_step(AttemptContext.of(worker, claim)))
    assert engineer.row(task_id, "a")["state"] == "failed"

    if by == "repair":
        reject_the_round(engineer, task_id, "a")
    else:
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)
        task_id = engineer.retry(task_id)

    assert engineer.row(task_id, "a")["state"] == "waiting"
    assert asked(engineer, task_id, "a").kind == "approval"
    assert len(ledger.lines()) == 1


@pytest.mark.parametrize(
    ("ends", "again"),
    [("done", "done"), ("cancelled", "waiting"), ("unknown", "waiting"), ("refused", "queued")],
)
def test_a_retry_keeps_what_is_done_and_asks_before_it_repeats_what_may_be(
    engineer: Engineer, worker: WorkerProcess, ends: str, again: str
) -> None:
    task_id = engineer.start(append("a"), wait_step("b", "a"))
    claim = engineer.take(task_id, "a")
    assert begin(engineer, claim)
    if ends == "cancelled":
        pass
    elif ends == "done":
        engineer.store(claim, done({"summary": "s", "key": "k"}))
    else:
        engineer.store(claim, failed("outcome_unknown" if ends == "unknown" else "ledger_closed"))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    second = engineer.retry(task_id)

    assert engineer.row(second, "a")["state"] == again
    assert engineer.row(second, "a")["spec"]["once"]


def test_a_retry_of_a_retry_still_asks(engineer: Engineer, worker: WorkerProcess) -> None:
    """A person refused the repetition: that the first effect took place is not forgotten."""
    first = engineer.start(append("a"))
    engineer.do(first, "a")
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=first)
    second = engineer.retry(first, from_step="a")
    assert engineer.row(second, "a")["state"] == "waiting"
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=second)

    third = engineer.retry(second)

    assert engineer.row(third, "a")["state"] == "waiting"


def test_a_repair_does_not_ask_again_about_an_effect_that_a_person_gave_up(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    claim = engineer.take(engineer.start({**append("a"), "repair_inputs": {"text": "b"}}), "a")
    engineer.store(claim, failed("outcome_unknown"))

    ended = engineer.judge(claim.task_id, replace(verdict(Verdict.FAILED), faulty={"a": "it failed"}))

    assert not isinstance(ended, SavedRound)
    assert engineer.task(claim.task_id).status == "failed"
