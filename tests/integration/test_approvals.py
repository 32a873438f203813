"""A step that a person must approve waits in Postgres until one decision, or its expiry, lets it go on."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator.lifecycle import approvals, cancel
from orchestrator.lifecycle.approvals import DecisionMade
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.models import approval as models
from orchestrator.models.approval import Proposal, Verb
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import AlreadyDecided, IdempotencyConflict, InvalidInput, NotFound
from orchestrator.models.verdict import Decision
from tests.integration.approval_kit import asked, decide, gated, kinds, let_expire, question, sweep, sweeping
from tests.integration.kit import TENANT, Engineer, done, verdict, wait_step

HOOK = "https://example.com/hook"


def test_a_root_waits_and_runs_when_it_is_approved(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))

    assert engineer.states(task_id)["a"] == "waiting"
    assert engineer.claim(task_id, "a") is None
    made = decide(engineer, asked(engineer, task_id, "a"))

    assert [message.name for message in made.messages] == ["a"]
    assert (made.approval.state, made.approval.decided_by, made.approval.via) == ("approved", "ann", "api")
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    assert engineer.task(task_id).status == "completed"
    assert [*kinds(engineer, task_id)] == ["approval.requested", "approval.decided"]


def test_a_later_step_waits_when_it_would_be_released_and_the_chord_with_it(engineer: Engineer) -> None:
    task_id = engineer.start(wait_step("a"), gated("b", "a"), wait_step("c"))
    assert engineer.states(task_id)["b"] == "blocked"

    engineer.do(task_id, "c")
    completion = engineer.do(task_id, "a")

    assert [row.state for row in completion.released] == ["waiting"]
    states = engineer.states(task_id)
    assert (states["b"], states["$judge"]) == ("waiting", "blocked")
    assert engineer.chord_of(task_id)["state"] == "open"
    decide(engineer, asked(engineer, task_id, "b"))
    engineer.do(task_id, "b")
    assert engineer.chord_of(task_id)["state"] == "ready"
    assert engineer.states(task_id)["$judge"] == "queued"


def test_a_step_whose_arm_is_gone_is_asked_about_too(
    engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the steps before it could not end, and the sweeper could settle no decision of any tenant."""
    later = {"id": "b", "arm": "retriever", "action": "search", "inputs": {"query": "x"}, "depends_on": ["a"]}
    task_id = engineer.start(wait_step("a"), {**later, "approval": {"ask": "may it?"}})
    monkeypatch.setattr(ARMS, "_static", {name: arm for name, arm in ARMS.items() if name != "retriever"})

    engineer.do(task_id, "a")

    assert engineer.states(task_id)["b"] == "waiting"
    with pytest.raises(InvalidInput, match="retriever is gone"):
        decide(engineer, asked(engineer, task_id, "b"), Verb.EDIT, value={"query": "y"})
    decide(engineer, asked(engineer, task_id, "b"))
    assert engineer.states(task_id)["b"] == "queued"


def test_a_decision_that_can_not_be_stored_holds_up_no_other(engineer: Engineer) -> None:
    tasks = [engineer.start(gated("a")) for _ in range(2)]
    for task_id in tasks:
        decide(engineer, asked(engineer, task_id, "a"), Verb.REJECT)
    engineer.ask("UPDATE approvals SET proposal = '{}' WHERE task_id = %(id)s", id=tasks[0])

    sweep(sweeping(engineer))

    assert engineer.states(tasks[1])["a"] == "failed"


def test_a_waiting_step_takes_no_slot(engineer: Engineer) -> None:
    narrow = Engineer(engineer.engine, replace(engineer.settings, max_parallel_arms=1))

    task_id = narrow.start(gated("a"), wait_step("b"), wait_step("c"))

    states = narrow.states(task_id)
    assert states["a"] == "waiting"
    assert sorted([states["b"], states["c"]]) == ["held", "queued"]


def test_two_steps_wait_at_once_and_the_chord_fires_once_after_the_last_decision(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"), gated("b"))

    for name in "ab":
        assert engineer.chord_of(task_id)["state"] == "open"
        decide(engineer, asked(engineer, task_id, name))
        engineer.do(task_id, name)

    chord = engineer.chord_of(task_id)
    assert (chord["state"], chord["size"] + chord["added"], chord["done"]) == ("ready", 2, 2)


def test_the_database_refuses_to_queue_a_step_whose_gate_is_closed(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))

    for state in ("queued", "running", "done"):
        with pytest.raises(IntegrityError, match="steps_gate_is_open"):
            engineer.ask(
                """UPDATE steps SET state = %(state)s, due = CASE WHEN %(state)s <> 'done' THEN now() END,
                   owner = 'x', attempt = 1, result = '{}',
                   finished_at = CASE WHEN %(state)s = 'done' THEN now() END WHERE id = %(id)s""",
                state=state,
                id=engineer.row(task_id, "a")["id"],
            )


def test_the_proposal_is_what_will_run_with_every_reference_resolved(engineer: Engineer) -> None:
    reference = {"seconds": {"$from": "a", "pointer": "/seconds"}}
    task_id = engineer.start(wait_step("a"), gated("b", "a", inputs=reference))

    engineer.do(task_id, "a", output={"summary": "s", "seconds": 7})

    proposal = asked(engineer, task_id, "b")
    assert proposal.proposal == {"arm": "executor", "action": "wait", "inputs": {"seconds": 7}}
    assert proposal.proposal_hash == Proposal("executor", "wait", {"seconds": 7}).sha256()


def test_a_step_whose_inputs_lead_nowhere_asks_nobody_and_fails_with_that_fault(engineer: Engineer) -> None:
    reference = {"seconds": {"$from": "a", "pointer": "/seconds"}}
    worker = sweeping(engineer)
    task_id = engineer.start(wait_step("a"), gated("b", "a", inputs=reference))

    engineer.do(task_id, "a", output={"summary": "s"})
    sweep(worker)
    sweep(worker)

    row = engineer.row(task_id, "b")
    assert (row["state"], row["result"]["error"]["code"]) == ("failed", "invalid_input")
    assert [*kinds(engineer, task_id)] == []
    assert engineer.states(task_id)["$judge"] == "queued"


def test_sixteen_decisions_at_once_have_one_winner_and_each_loser_learns_who(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))
    approval = asked(engineer, task_id, "a")
    won: list[str] = []
    lost: list[AlreadyDecided] = []

    def vote(number: int) -> None:
        try:
            made = decide(engineer, approval, (Verb.APPROVE, Verb.REJECT)[number % 2], by=f"person {number}")
            won.append(str(made.approval.decided_by))
        except AlreadyDecided as error:
            lost.append(error)

    _at_once([partial(vote, number) for number in range(16)])

    assert (len(won), len(lost)) == (1, 15)
    assert {error.details["decided_by"] for error in lost} == set(won)
    assert all(error.details["decided_at"] for error in lost)
    assert Counter(kinds(engineer, task_id))["approval.decided"] == 1


def test_a_decision_and_the_expiry_at_the_same_moment_never_both_count(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    outcomes = set()
    for _ in range(6):
        task_id = engineer.start(gated("a"))
        approval = asked(engineer, task_id, "a")
        won: list[DecisionMade] = []

        def vote(approval: ApprovalRecord = approval, won: list[DecisionMade] = won) -> None:
            with suppress(AlreadyDecided):
                won.append(decide(engineer, approval))

        engineer.ask(
            "UPDATE approvals SET expires_at = clock_timestamp() + interval '5 ms' WHERE id = %(id)s",
            id=approval.id,
        )
        _at_once([vote, *[partial(sweep, worker)] * 3])
        if not won:
            sweep(worker)

        latest = asked(engineer, task_id, "a")
        assert (latest.state, latest.decided_by) == (("approved", "ann") if won else ("expired", None))
        assert Counter(kinds(engineer, task_id))["approval.decided"] == 1
        outcomes.add(latest.state)
    assert outcomes <= {"approved", "expired"}


def test_a_decision_after_the_expiry_is_refused_even_before_a_sweeper_came(engineer: Engineer) -> None:
    approval = asked(engineer, engineer.start(gated("a")), "a")
    let_expire(engineer, approval)

    with pytest.raises(AlreadyDecided, match="was over"):
        decide(engineer, approval)


def test_the_same_key_again_gets_the_first_decision_and_another_content_a_conflict(
    engineer: Engineer,
) -> None:
    approval = asked(engineer, engineer.start(gated("a")), "a")
    first = decide(engineer, approval, once_name="k", once_sha256="1")

    again = decide(engineer, approval, once_name="k", once_sha256="1")

    assert (again.is_replay, again.messages, again.approval) == (True, (), first.approval)
    with pytest.raises(IdempotencyConflict):
        decide(engineer, approval, once_name="k", once_sha256="2")


def test_another_tenant_finds_no_approval(engineer: Engineer) -> None:
    approval = asked(engineer, engineer.start(gated("a")), "a")

    with pytest.raises(NotFound):
        approvals.decide(
            engineer.engine,
            tenant="other",
            approval_id=approval.id,
            decision=models.Decision(Verb.APPROVE, by="eve", via="api"),
            settings=engineer.settings,
        )


@pytest.mark.parametrize(
    ("verb", "more", "field"),
    [
        (Verb.ANSWER, {"value": 1}, "decision"),
        (Verb.EDIT, {"value": {"seconds": "soon"}}, "inputs.seconds"),
        (Verb.EDIT, {"value": {"seconds": {"$from": "a"}}}, "inputs"),
        (Verb.EDIT, {"value": 7}, "inputs"),
        (Verb.APPROVE, {"proposal_hash": "0" * 64}, "proposal_hash"),
        (Verb.APPROVE, {"comment": "x" * 2001}, "comment"),
        (Verb.EDIT, {"value": {"seconds": 1, "note": "x" * 300_000}}, "value"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_and_the_step_waits_on(
    engineer: Engineer, verb: Verb, more: dict[str, Any], field: str
) -> None:
    task_id = engineer.start(gated("a"))

    with pytest.raises(InvalidInput, match=f"^{field}"):
        decide(engineer, asked(engineer, task_id, "a"), verb, **more)

    assert asked(engineer, task_id, "a").state == "pending"


def test_only_what_the_plan_allows_may_be_decided(engineer: Engineer) -> None:
    approval = asked(engineer, engineer.start(gated("a", allow=["approve", "reject"])), "a")

    with pytest.raises(InvalidInput, match="approve, reject"):
        decide(engineer, approval, Verb.EDIT, value={"seconds": 0})


def test_a_rejection_fails_the_step_without_its_arm_and_the_judge_is_next(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(gated("a"), wait_step("b", "a"))

    made = decide(engineer, asked(engineer, task_id, "a"), Verb.REJECT, comment="too dear")
    assert made.messages == []
    sweep(worker)

    row = engineer.row(task_id, "a")
    assert (row["state"], row["result"]["error"]["code"]) == ("failed", "approval_rejected")
    assert row["result"]["error"]["message"] == "ann rejected step a: too dear"
    assert engineer.chord_of(task_id)["done"] == 1
    assert engineer.states(task_id)["$judge"] == "queued"
    assert sweep(worker) == 0


def test_a_rejected_step_is_not_repaired(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start({**gated("a"), "repair_inputs": {"seconds": 1}})
    decide(engineer, asked(engineer, task_id, "a"), Verb.REJECT)
    sweep(worker)

    engineer.judge(task_id, verdict(Decision.FAILED, a="it did not run"))

    assert engineer.task(task_id).status == "failed"


def test_an_answer_is_the_step_s_output_and_its_dependents_are_released(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    schema = {"type": "object", "properties": {"seconds": {"type": "integer"}}, "required": ["seconds"]}
    uses = wait_step("b", "a", inputs={"seconds": {"$from": "a", "pointer": "/seconds"}})
    task_id = engineer.start(question("a", schema=schema), uses)
    approval = asked(engineer, task_id, "a")
    assert (approval.kind, approval.ask, approval.allow) == ("question", "which?", ["answer", "reject"])

    with pytest.raises(InvalidInput, match="seconds"):
        decide(engineer, approval, Verb.ANSWER, value={"seconds": "two"})
    decide(engineer, approval, Verb.ANSWER, value={"seconds": 2})
    sweep(worker)

    assert engineer.row(task_id, "a")["result"]["output"] == {"seconds": 2}
    claim = engineer.take(task_id, "b")
    assert claim.bound is not None
    assert claim.bound["a"]["output"] == {"seconds": 2}


def test_null_is_an_answer(engineer: Engineer) -> None:
    worker = sweeping(engineer)
    task_id = engineer.start(question("a"))

    decide(engineer, asked(engineer, task_id, "a"), Verb.ANSWER, value=None)
    sweep(worker)

    row = engineer.row(task_id, "a")
    assert (row["state"], row["result"]["output"]) == ("done", None)


def test_a_repair_asks_again_about_what_it_will_do(engineer: Engineer) -> None:
    task_id = engineer.start({**gated("a"), "repair_inputs": {"seconds": 1}})
    decide(engineer, asked(engineer, task_id, "a"))
    engineer.do(task_id, "a")

    engineer.judge(task_id, verdict(Decision.FAILED, a="wrong"))

    again = asked(engineer, task_id, "a")
    assert (again.round, again.state, again.proposal["inputs"]) == (2, "pending", {"seconds": 1})
    assert engineer.states(task_id)["a"] == "waiting"
    decide(engineer, again)
    engineer.do(task_id, "a")
    engineer.judge(task_id, verdict(Decision.PASSED))
    assert engineer.task(task_id).status == "completed"


def test_a_retry_asks_again_for_the_steps_that_it_runs_again(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"), gated("b", "a"))
    decide(engineer, asked(engineer, task_id, "a"))
    engineer.do(task_id, "a")
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    again = engineer.retry(task_id)

    assert engineer.states(again)["a"] == "done"
    assert engineer.states(again)["b"] == "waiting"
    assert asked(engineer, again, "b").state == "pending"


def test_requests_warnings_and_decisions_go_to_the_callback_url(engineer: Engineer) -> None:
    engineer = Engineer(engineer.engine, replace(engineer.settings, webhook_allowed_hosts=("example.com",)))
    task_id = engineer.start(gated("a"), gated("b"), callback_url=HOOK)
    decide(engineer, asked(engineer, task_id, "a"))

    sent = engineer.ask(
        """SELECT e.type, e.payload FROM webhooks w JOIN events e ON e.task_id = w.task_id AND e.seq = w.seq
           WHERE w.task_id = %(task)s ORDER BY w.seq""",
        task=task_id,
    )

    assert [one["type"] for one in sent] == ["approval.requested", "approval.requested", "approval.decided"]
    assert {one["payload"]["step"] for one in sent} == {"a", "b"}


def test_an_approved_step_may_be_tried_again_without_asking_again(engineer: Engineer) -> None:
    task_id = engineer.start(gated("a"))
    decide(engineer, asked(engineer, task_id, "a"))
    early = engineer.take(task_id, "a", lease_seconds=-1)

    late = engineer.take(task_id, "a")
    engineer.store(late, done())

    assert (early.attempt, late.attempt) == (1, 2)
    assert engineer.states(task_id)["a"] == "done"


def _at_once(calls: Sequence[Callable[[], object]]) -> None:
    gate = threading.Barrier(len(calls))

    def call(work: Callable[[], object]) -> None:
        gate.wait()
        work()

    threads = [threading.Thread(target=call, args=(work,)) for work in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
