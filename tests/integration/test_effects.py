"""A write that is not idempotent runs once: after its mark it never runs again without a person's decision."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.chord import Refused
from orchestrator.chord.database import statement
from orchestrator.lifecycle.effects import Loss
from orchestrator.memory.events import trace
from orchestrator.models.approval import Verb
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import InvalidInput, Stopped
from orchestrator.models.verdict import Decision as Verdict
from tests.integration.approval_kit import asked, decide
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.effect_kit import all_asked, begin, expire, lose
from tests.integration.kit import Engineer, done, verdict, wait_step
from tests.ledger import Ledger, append
from workers.attempt.context import AttemptContext
from workers.runtime.lost_effect import ask_about

pytestmark = pytest.mark.usefixtures("ledger")


@pytest.fixture
def worker(engineer: Engineer) -> WorkerProcess:
    """A worker's process."""
    return process_of(engineer)


def test_the_spec_of_a_write_that_runs_once_says_so(engineer: Engineer) -> None:
    task_id = engineer.start(append("once"), append("again", action="put"), wait_step("read"))

    said = {name: engineer.row(task_id, name)["spec"].get("once") for name in ("once", "again", "read")}

    assert said == {"once": True, "again": None, "read": None}


def test_a_write_is_marked_before_its_arm_is_called(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger
) -> None:
    task_id = engineer.start(append("a"))
    claim = engineer.take(task_id, "a")

    result = run_step(AttemptContext.of(worker, claim))

    assert result.output["key"] == claim.id
    assert engineer.row(task_id, "a")["effect_attempt"] == 1
    assert [tuple(line) for line in ledger.lines()] == [(claim.id, 1, "a")]


def test_an_attempt_whose_lease_has_ended_does_not_write(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger
) -> None:
    task_id = engineer.start(append("a"), append("b", action="put"))
    lapsed, taken = engineer.take(task_id, "a"), engineer.take(task_id, "b")
    expire(engineer, lapsed)
    expire(engineer, taken)
    engineer.take(task_id, "b", owner="another")

    for claim in (lapsed, taken):
        with pytest.raises(Stopped):
            run_step(AttemptContext.of(worker, claim))

    assert ledger.lines() == []
    assert engineer.row(task_id, "a")["effect_attempt"] is None


def test_a_lapsed_lease_is_taken_over_before_the_mark_and_never_after_it(engineer: Engineer) -> None:
    task_id = engineer.start(append("before"), append("after"))
    for name in ("before", "after"):
        claim = engineer.take(task_id, name)
        if name == "after":
            assert begin(engineer, claim)
        expire(engineer, claim)

    taken = {name: engineer.claim(task_id, name) for name in ("before", "after")}

    assert taken["before"] is not None
    assert taken["after"] is None
    assert (engineer.row(task_id, "after")["state"], engineer.row(task_id, "after")["attempt"]) == (
        "running",
        1,
    )


def test_one_of_the_mark_and_the_next_claim_wins(engineer: Engineer) -> None:
    """16 rows whose lease ends just now: each is either marked by its owner or claimed by another."""
    claims = [engineer.take(engineer.start(append("a")), "a", lease_seconds=0.05) for _ in range(16)]
    start = threading.Barrier(2)

    def mark() -> list[bool]:
        start.wait(10)
        return [begin(engineer, claim) for claim in claims]

    def take() -> list[bool]:
        start.wait(10)
        return [engineer.claim(claim.task_id, "a", owner="another") is not None for claim in claims]

    with ThreadPoolExecutor(2) as pool:
        marked, taken = (one.result(30) for one in (pool.submit(mark), pool.submit(take)))

    assert not any(both == (True, True) for both in zip(marked, taken, strict=True))


@pytest.mark.parametrize("release", ["0.3", "this"])
def test_the_database_itself_refuses_to_queue_or_claim_a_begun_effect(
    engineer: Engineer, release: str
) -> None:
    """Also for processes of a release that knows nothing of the mark."""
    task_id = engineer.start(append("a"))
    claim = engineer.take(task_id, "a")
    assert begin(engineer, claim)
    changes = {
        "0.3": "UPDATE steps SET attempt = attempt + 1 WHERE id = %(id)s",
        "this": "UPDATE steps SET state = 'queued' WHERE id = %(id)s",
    }

    with pytest.raises(Exception, match="steps_effect_runs_once"):
        engineer.ask(changes[release], id=claim.id)


@pytest.mark.parametrize("how", ["lease_expired", "worker_lost", "handed_back"])
def test_a_lost_effect_waits_for_a_person_who_is_told_what_is_known(
    engineer: Engineer, worker: WorkerProcess, how: str
) -> None:
    claim = lose(engineer, worker, how)

    row, question = engineer.row(claim.task_id, "a"), asked(engineer, claim.task_id, "a")
    assert (row["state"], row["due"], row["attempt"]) == ("waiting", None, 1)
    assert (question.kind, question.state) == ("outcome", "pending")
    assert question.allow == ["run_again", "accept", "reject"]
    assert question.proposal["inputs"] == {"text": "a"}
    known = question.proposal["effect"]
    assert (known["idempotency_key"], known["worker"], known["attempt"]) == (claim.id, "host:1", 1)
    assert known["inputs_sha256"] == question.proposal_hash
    for word in ("host:1", claim.id, "run_again", "accept", "reject"):
        assert word in question.ask
    told = [event for event in engineer.events(claim.task_id) if event.type == "step.outcome_unknown"]
    assert [event.payload["reason"] for event in told] == [how]
    with statement(engineer.engine) as conn:
        attempts = [entry.payload for entry in trace(conn, claim.task_id) if entry.kind == "attempt"]
    assert [(entry["attempt"], entry["outcome"]) for entry in attempts] == [(1, "outcome_unknown")]


def test_an_effect_is_asked_about_once(engineer: Engineer, worker: WorkerProcess) -> None:
    claim = lose(engineer, worker, "lease_expired")

    again = [ask_about(worker, Loss(claim.id, claim.task_id, reason="lease_expired")) for _ in range(2)]

    assert again == [False, False]
    assert len(all_asked(engineer, claim.task_id)) == 1


def test_a_step_that_waits_for_a_person_holds_no_slot(engineer: Engineer, worker: WorkerProcess) -> None:
    engineer.settings = replace(engineer.settings, max_parallel_arms=1)
    worker = process_of(engineer)
    task_id = engineer.start(append("a"), wait_step("b"))
    assert engineer.states(task_id)["b"] == "held"
    claim = engineer.take(task_id, "a")
    assert begin(engineer, claim)
    expire(engineer, claim)

    assert ask_about(worker, Loss(claim.id, task_id, reason="lease_expired"))

    assert engineer.states(task_id) == {"$plan": "done", "a": "waiting", "b": "queued", "$judge": "blocked"}
    engineer.do(task_id, "b")
    assert engineer.states(task_id)["$judge"] == "blocked"
    engineer.store(claim, done())
    assert engineer.chord_of(task_id)["state"] in ("ready", "fired")
    engineer.judge(task_id, verdict(Verdict.PASSED))
    assert engineer.task(task_id).status == "completed"


def test_a_late_success_is_accepted_and_withdraws_the_question(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    claim = lose(engineer, worker, "lease_expired")
    late_deadline = engineer.task(claim.task_id).deadline_at

    engineer.store(claim, done({"summary": "late", "key": "k"}))

    assert engineer.states(claim.task_id)["a"] == "done"
    assert asked(engineer, claim.task_id, "a").state == "withdrawn"
    assert "approval.withdrawn" in [event.type for event in engineer.events(claim.task_id)]
    assert engineer.task(claim.task_id).deadline_at < late_deadline


def test_run_again_queues_the_step_with_the_same_key_and_the_next_attempt(
    engineer: Engineer, worker: WorkerProcess, ledger: Ledger
) -> None:
    claim = lose(engineer, worker, "lease_expired")

    made = decide(engineer, asked(engineer, claim.task_id, "a"), Verb.RUN_AGAIN)
    again = engineer.take(claim.task_id, "a")
    result = run_step(AttemptContext.of(worker, again))
    engineer.store(again, result)

    assert [message.id for message in made.messages] == [claim.id]
    assert [tuple(line) for line in ledger.lines()] == [(claim.id, 2, "a")]
    assert engineer.states(claim.task_id)["a"] == "done"


def test_after_run_again_the_first_attempts_success_wins_and_the_second_is_fenced(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    claim = lose(engineer, worker, "lease_expired")
    decide(engineer, asked(engineer, claim.task_id, "a"), Verb.RUN_AGAIN)
    again = engineer.take(claim.task_id, "a")

    engineer.store(claim, done({"summary": "the first", "key": "k"}))

    assert engineer.row(claim.task_id, "a")["result"]["output"]["summary"] == "the first"
    assert not begin(engineer, again)
    with pytest.raises(Refused):
        engineer.store(again, done())


@pytest.mark.parametrize("verb", [Verb.ACCEPT, Verb.REJECT])
def test_a_row_whose_fate_a_person_decided_is_not_begun_again(
    engineer: Engineer, worker: WorkerProcess, verb: Verb
) -> None:
    """A message that comes before the sweeper has stored the decision."""
    claim = lose(engineer, worker, "lease_expired")
    value = {"summary": "there", "key": "k"} if verb is Verb.ACCEPT else None
    decide(engineer, asked(engineer, claim.task_id, "a"), verb, value=value)

    again = engineer.take(claim.task_id, "a")

    assert not begin(engineer, again)


def test_an_output_that_is_accepted_must_fit_the_actions_contract(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    claim = lose(engineer, worker, "lease_expired")

    with pytest.raises(InvalidInput, match=r"answer\.key|required|'key'"):
        decide(engineer, asked(engineer, claim.task_id, "a"), Verb.ACCEPT, value={"summary": "no key"})

    assert asked(engineer, claim.task_id, "a").state == "pending"


def test_an_effect_of_an_arm_that_is_gone_is_asked_about(
    engineer: Engineer, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = engineer.take(engineer.start(append("a")), "a")
    assert begin(engineer, claim)
    expire(engineer, claim)
    monkeypatch.setattr(ARMS, "_static", {name: arm for name, arm in ARMS.items() if name != "ledger"})

    assert ask_about(worker, Loss(claim.id, claim.task_id, reason="lease_expired"))

    assert asked(engineer, claim.task_id, "a").answer_schema is None


def test_whoever_is_asked_about_an_effect_sees_the_inputs_that_were_edited(
    engineer: Engineer, worker: WorkerProcess
) -> None:
    task_id = engineer.start({**append("a"), "approval": {"ask": "may it?"}})
    decide(engineer, asked(engineer, task_id, "a"), Verb.EDIT, value={"text": "edited"})
    claim = engineer.take(task_id, "a")
    assert begin(engineer, claim)
    expire(engineer, claim)
    assert ask_about(worker, Loss(claim.id, task_id, reason="lease_expired"))

    assert asked(engineer, task_id, "a").proposal["inputs"] == {"text": "edited"}
