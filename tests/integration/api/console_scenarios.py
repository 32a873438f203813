"""Tasks of all kinds, worked on by hand, with the status that the API gives after each transition.

The console computes the state of a task from its events; tests/console/cases has what these scenarios gave, and
tests/console/reduce.test.js compares the two.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import cancel, requeue
from orchestrator.lifecycle.effects import Loss
from orchestrator.memory import claims
from orchestrator.memory.claims import Claim
from orchestrator.models.approval import Verb
from orchestrator.models.errors import MustWait
from orchestrator.models.verdict import Decision
from tests.fake_llm.server import Scripted
from tests.integration.api.conftest import Caller
from tests.integration.approval_kit import asked, decide, gated, let_expire, question, sweep, sweeping
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.early_kit import Office, held, plan_of, step
from tests.integration.effect_kit import begin as begin_effect
from tests.integration.effect_kit import expire
from tests.integration.kit import TENANT, Engineer, done, failed, verdict, wait_step
from tests.integration.replan_kit import REJECTED, Replanner, planned
from tests.integration.test_conditions import NEVER, collect
from tests.integration.test_loops import each, run
from tests.integration.test_loops import find as find_items
from tests.ledger import append
from workers.attempt.context import AttemptContext
from workers.runtime.lost_effect import ask_about

_SHOWN = ("status", "round", "attempt", "items")
_FAULT = {"code": "rate_limited", "message": "the model is busy", "retryable": True, "details": {}}


class Observer:
    """Someone who works by hand, and looks at the task after each transition as the console does."""

    def __init__(self, engineer: Engineer, call: Caller) -> None:
        self.engineer = engineer
        self.call = call
        self.task_id = ""
        self.statuses: dict[int, dict[str, Any]] = {}

    def look(self) -> None:
        """Note the task's status under the number of its last event."""
        status = self.call("GET", f"/v1/tasks/{self.task_id}").json
        steps = {one["step_id"]: {name: one[name] for name in _SHOWN} for one in status["steps"]}
        self.statuses[status["event_seq"]] = {
            "status": status["status"],
            "phase": status["phase"],
            "steps": steps,
            "approvals": sorted(one["approval_id"] for one in status["approvals"]),
        }

    def submit(self, *plan: dict[str, Any], **contract: Any) -> str:
        """Submit a task with a client's plan, and adopt the plan."""
        self.task_id = self.engineer.submit(*plan, **contract)
        self.look()
        self.engineer.plan(self.task_id)
        self.look()
        return self.task_id

    def begin(self, name: str, owner: str = "host:1") -> Claim:
        """Claim a row, and tell that it runs."""
        claim = self.engineer.take(self.task_id, name, owner=owner)
        with statement(self.engineer.engine) as conn:
            claims.announce(conn, claim.id)
        self.look()
        return claim

    def do(self, *names: str) -> None:
        """Do steps, each from its claim to its end."""
        for name in names:
            self.engineer.store(self.begin(name), done())
            self.look()

    def fail(self, name: str) -> None:
        """Let a step fail."""
        self.engineer.store(self.begin(name), failed())
        self.look()

    def loop(self, *names: str) -> None:
        """Do spreads and gathers as a worker does."""
        for name in names:
            run(self.engineer, self.task_id, name)
            self.look()

    def judge(self, decision: Decision = Decision.PASSED, **faulty: str) -> None:
        """Conclude the round."""
        self.engineer.conclude(self.begin("$judge"), verdict(decision, **faulty))
        self.look()

    def retry(self, claim: Claim, delay_seconds: float = 0) -> None:
        """Queue a failed attempt again."""
        with transaction(self.engineer.engine) as conn:
            assert requeue.retry_step(conn, claim, error=_FAULT, delay_seconds=delay_seconds)
        self.look()

    def decide(self, name: str, verb: Verb = Verb.APPROVE, **more: Any) -> None:
        """Decide the newest approval of a step."""
        decide(self.engineer, asked(self.engineer, self.task_id, name), verb, **more)
        self.look()

    def cancel(self) -> None:
        """Cancel the task."""
        cancel.cancel(self.engineer.engine, tenant=TENANT, task_id=self.task_id)
        self.look()

    def case(self) -> dict[str, Any]:
        """Return the task's events as the API gives them, and the statuses by number."""
        events = self.call("GET", f"/v1/tasks/{self.task_id}/events").json["events"]
        return {"events": events, "statuses": {str(seq): seen for seq, seen in self.statuses.items()}}


def plain(you: Observer) -> None:
    """Three steps pass."""
    you.submit(wait_step("a"), wait_step("b", "a"), wait_step("c", "a"))
    you.do("a", "c", "b")
    you.judge()


def few_slots(you: Observer) -> None:
    """Steps that could run wait for a free slot."""
    you.engineer.settings = replace(you.engineer.settings, max_parallel_arms=2)
    you.submit(*(wait_step(name) for name in "abcd"), wait_step("z", "a", "b", "c", "d"))
    you.do("a")
    one, two = you.begin("b"), you.begin("c")
    for claim in (two, one):
        you.engineer.store(claim, done())
        you.look()
    you.do("d", "z")
    you.judge()


def retry(you: Observer) -> None:
    """An attempt fails and is made again, another one has no room, and a planner fails once."""
    you.task_id = you.engineer.submit(wait_step("a"), wait_step("b", "a"))
    you.look()
    you.retry(you.begin("$plan"))
    you.engineer.plan(you.task_id)
    you.look()
    you.retry(you.begin("a"), delay_seconds=0.002)
    requeue.postpone(you.engineer.engine, _when_due(you, "a"), MustWait("no room"))
    you.look()
    you.engineer.store(_when_due(you, "a"), done())
    you.look()
    you.do("b")
    you.judge()


def _when_due(you: Observer, name: str) -> Claim:
    you.engineer.ask(
        "UPDATE steps SET not_before = now() WHERE id = %(id)s", id=you.engineer.row(you.task_id, name)["id"]
    )
    return you.begin(name)


def failure(you: Observer) -> None:
    """What depends on a failed step is skipped, and the task is rejected."""
    you.submit(wait_step("a"), wait_step("b", "a"), wait_step("c", "b"), wait_step("d"))
    you.fail("a")
    you.do("d")
    you.judge(Decision.FAILED)


def condition(you: Observer) -> None:
    """A step is skipped by its condition, and what depends on it runs."""
    you.submit(collect("find", 1), collect("maybe", 2, when=NEVER), collect("last", 3, "maybe"))
    for name in ("find", "maybe", "last"):
        attempt = AttemptContext.of(process_of(you.engineer), you.begin(name))
        you.engineer.store(attempt.claim, run_step(attempt))
        you.look()
    you.judge()


def repair(you: Observer) -> None:
    """The faulty step and what depends on it run again."""
    you.submit(wait_step("a"), wait_step("b", "a", repair_inputs={"seconds": 1}), wait_step("c", "b"))
    you.do("a", "b", "c")
    you.judge(Decision.FAILED, b="it is short")
    you.do("b")
    you.do("c")
    you.judge()


def retried(you: Observer) -> None:
    """A retry reuses what is done."""
    first = you.submit(wait_step("a"), wait_step("b", "a"), wait_step("c", "b"))
    you.do("a")
    you.fail("b")
    you.judge(Decision.FAILED)
    you.statuses.clear()
    you.task_id = you.engineer.retry(first)
    you.look()
    you.do("b", "c")
    you.judge()


def cancelled(you: Observer) -> None:
    """Running, queued, held, waiting and blocked steps are stopped."""
    you.submit(wait_step("a"), wait_step("b"), wait_step("c"), gated("d"), wait_step("e", "a"))
    you.begin("a")
    you.cancel()


def cancelled_early(you: Observer) -> None:
    """A task is cancelled before it has a plan."""
    you.task_id = you.engineer.submit(wait_step("a"))
    you.look()
    you.begin("$plan")
    you.cancel()


def approvals(you: Observer) -> None:
    """A person approves one step, rejects another and answers a question; a fourth question has no answer in time."""
    you.submit(
        gated("a"), gated("b", "a"), question("c"), gated("d", on_expiry="reject"), wait_step("e", "a")
    )
    you.decide("a")
    you.do("a")
    you.decide("b", Verb.REJECT, comment="no")
    you.decide("c", Verb.ANSWER, value={"answer": "blue"})
    let_expire(you.engineer, asked(you.engineer, you.task_id, "d"))
    worker = sweeping(you.engineer)
    for _ in range(2):
        # applies the rule of what has expired, and then stores what needs no arm
        sweep(worker)
        you.look()
    you.do("e")
    you.judge(Decision.FAILED)


def lost_workers(you: Observer) -> None:
    """Leases end, workers die, and an attempt that was given up is done all the same."""
    you.submit(wait_step("a"), wait_step("b"), wait_step("c", "a", "b"))
    lapsed, dying = you.begin("a"), you.begin("b", owner="host:2")
    expire(you.engineer, lapsed)
    assert requeue.expire_lease(you.engineer.engine, lapsed.id, task_id=you.task_id)
    you.look()
    requeue.hand_back(you.engineer.engine, dying.id, task_id=you.task_id, owner="host:2", died=True)
    you.look()
    you.begin("a", owner="host:3")
    you.engineer.store(lapsed, done())
    you.look()
    # another death of its worker puts the row off
    expire(you.engineer, you.begin("b"))
    assert requeue.expire_lease(you.engineer.engine, dying.id, task_id=you.task_id)
    you.look()
    you.engineer.store(_when_due(you, "b"), done())
    you.look()
    you.do("c")
    you.judge()


def unknown_outcome(you: Observer) -> None:
    """Nobody knows whether a write happened, and a person says that it did not."""
    you.submit(append("a"), wait_step("b", "a"))
    claim = you.begin("a")
    assert begin_effect(you.engineer, claim)
    expire(you.engineer, claim)
    ask_about(process_of(you.engineer), Loss(claim.id, you.task_id, reason="lease_expired"))
    you.look()
    you.decide("a", Verb.RUN_AGAIN)
    you.do("a", "b")
    you.judge()


def loop(you: Observer) -> None:
    """A step runs for each item; one fails, the step is repaired, and the others are reused."""
    you.submit(find_items([]), each(repair_inputs={"values": {"of": "more"}}), wait_step("z", "fix"))
    output = {"summary": "found", "values": {"list": ["x", "y", "z"]}}
    you.engineer.store(you.begin("find"), done(output))
    you.look()
    you.loop("fix[]")
    you.do("fix[2]")
    slow = you.begin("fix[0]")
    you.fail("fix[1]")
    you.engineer.store(slow, done())
    you.look()
    you.loop("fix")
    you.do("z")
    you.judge(Decision.FAILED, fix="one failed")
    you.loop("fix[]")
    you.do("fix[1]")
    you.loop("fix")
    you.do("z")
    you.judge()


SCENARIOS: dict[str, Callable[[Observer], None]] = {
    one.__name__: one
    for one in (
        plain, few_slots, retry, failure, condition, repair, retried, cancelled, cancelled_early, approvals,
        lost_workers, unknown_outcome, loop,
    )
}  # fmt: skip


def replan(you: Observer, replanner: Replanner) -> None:
    """A model makes another plan after a rejected round."""
    you.task_id = replanner.submit()
    you.look()
    replanner.plan(you.task_id, planned("first"), planned("second", "first"))
    you.look()
    you.do("first", "second")
    you.engineer.conclude(you.begin("$judge"), REJECTED)
    you.look()
    replanner.plan(you.task_id, planned("first"), planned("third", "first"))
    you.look()
    you.do("third")
    you.judge()


def early(you: Observer, office: Office) -> None:
    """First steps begin while the plan is written; its second answer has one of them only."""
    office.fake.add(
        held(plan_of(step("a"), step("gone"), step("b", "nobody")), "gone"),
        Scripted(text=json.dumps(plan_of(step("a"), step("b", "a")))),
    )
    you.task_id = office.submit()
    you.look()
    planning = office.plan(you.task_id)
    office.begun(you.task_id, "a", "gone")
    claim = you.begin("a")
    office.adopt(planning)
    you.look()
    office.store(claim, done({"summary": "early", "seconds": 0}))
    you.look()
    you.do("b")
    you.judge()
