"""A preview of a retry says what the real retry then does, and writes nothing."""

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.chord.database import statement
from orchestrator.lifecycle import cancel
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.lifecycle.retry_preview import ItemCounts, RetryPreview, preview
from orchestrator.llm.completion import UsageBound
from orchestrator.llm.provider import Usage
from orchestrator.memory.budget import Spent
from orchestrator.models.errors import InvalidInput, InvalidOperation
from orchestrator.models.verdict import Decision
from tests.integration.kit import TENANT, Engineer, done, failed, verdict, wait_step
from tests.integration.test_loops import each, find, found, run
from tests.ledger import append, registered

CHAIN = (wait_step("a"), wait_step("b", "a"), wait_step("c", "b"))


@pytest.mark.parametrize(("from_step", "reused"), [(None, ["a", "b", "c"]), ("b", ["a"]), ("a", [])])
def test_what_is_reused_and_what_runs_is_what_the_retry_does(
    engineer: Engineer, from_step: str | None, reused: list[str]
) -> None:
    source = _passed(engineer)

    seen = look(engineer, source, from_step)

    assert [step.name for step in seen.reused] == reused
    assert told(seen) == does(engineer, source, from_step)


def test_failed_steps_and_those_behind_them_run_with_the_reason(engineer: Engineer) -> None:
    source = engineer.start(*CHAIN, wait_step("d"))
    engineer.do(source, "a")
    engineer.fail(source, "b")
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)

    seen = look(engineer, source)

    assert told(seen) == does(engineer, source)
    assert [(step.name, step.reason) for step in seen.runs] == [
        ("b", "failed"),
        ("c", "depends_on"),
        ("d", "not_done"),
    ]


def test_a_reused_step_of_a_retry_names_the_task_that_did_the_work(engineer: Engineer) -> None:
    source = _passed(engineer)
    second = engineer.retry(source)
    engineer.judge(second, verdict(Decision.PASSED))

    seen = look(engineer, second, "c")

    assert [(step.name, step.task_id) for step in seen.reused] == [("a", source), ("b", source)]
    assert [step.row_id for step in seen.reused] == [engineer.row(source, name)["id"] for name in "ab"]
    assert told(seen) == does(engineer, second, "c")


@pytest.mark.parametrize(
    ("from_step", "items"), [(None, ItemCounts(1, 1)), ("fix", ItemCounts(0, 2)), ("find", None)]
)
def test_items_of_a_loop_are_counted_as_the_retry_runs_them(
    engineer: Engineer, from_step: str | None, items: ItemCounts | None
) -> None:
    source = found(engineer, "x", "y")
    run(engineer, source, "fix[]")
    engineer.do(source, "fix[0]", output={"summary": "kept"})
    engineer.fail(source, "fix[1]")
    run(engineer, source, "fix")
    engineer.judge(source, verdict(Decision.PASSED))

    [fix] = [step for step in look(engineer, source, from_step).runs if step.name == "fix"]

    assert fix.items == items
    again = engineer.retry(source, from_step=from_step)
    if items is not None:
        begun = run(engineer, again, "fix[]")
        assert len(begun.released) == items.runs


def test_a_reused_loop_that_runs_again_counts_its_items(engineer: Engineer) -> None:
    source = engineer.start(find([]), each(source=["x", "y", "z"]))
    engineer.do(source, "find", output={"summary": "found", "values": {"list": []}})
    run(engineer, source, "fix[]")
    for index in range(3):
        engineer.do(source, f"fix[{index}]")
    run(engineer, source, "fix")
    engineer.judge(source, verdict(Decision.PASSED))
    second = engineer.retry(source)
    engineer.judge(second, verdict(Decision.PASSED))

    [fix] = look(engineer, second, "fix").runs

    assert fix.items == ItemCounts(0, 3)
    assert len(run(engineer, engineer.retry(second, from_step="fix"), "fix[]").released) == 3


@pytest.mark.parametrize("by", ["once", "approval"])
def test_a_step_that_will_ask_a_person_says_so(engineer: Engineer, by: str) -> None:
    gate = {"approval": {"ask": "May it?"}} if by == "approval" else {}
    with registered("ledger"):
        source = engineer.start({**append("a"), **gate} if by == "once" else wait_step("a", **gate))
        if by == "once":
            engineer.store(engineer.take(source, "a"), failed("outcome_unknown"))
        cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)

        [step] = look(engineer, source).runs
        again = engineer.retry(source)

    assert step.asks
    assert engineer.row(again, "a")["state"] == "waiting"


def test_an_item_that_took_effect_will_ask(engineer: Engineer) -> None:
    with registered("ledger"):
        write = {**append("fix", "find"), "for_each": {"$from": "find", "pointer": "/values/list"}}
        source = engineer.start(find([]), write)
        engineer.do(source, "find", output={"summary": "found", "values": {"list": [1, 2]}})
        run(engineer, source, "fix[]")
        engineer.do(source, "fix[0]", output={"summary": "appended"})
        engineer.store(engineer.take(source, "fix[1]"), failed("outcome_unknown"))
        run(engineer, source, "fix")
        engineer.judge(source, verdict(Decision.PASSED))

        [fix] = look(engineer, source).runs
        begun = run(engineer, engineer.retry(source), "fix[]")

    assert (fix.asks, fix.items) == (True, ItemCounts(1, 1))
    assert [message.state for message in begun.released] == ["waiting"]


def test_the_estimate_is_what_the_steps_that_run_and_the_judge_used(engineer: Engineer) -> None:
    source = engineer.start(*CHAIN)
    for name, tokens in (("a", 100), ("b", 20), ("c", 3)):
        work(engineer, source, name, tokens=tokens, dollars=Decimal("0.001") * tokens)
    engineer.judge(source, verdict(Decision.PASSED))

    assert look(engineer, source, "b").spent == Spent(23, Decimal("0.023"))
    assert look(engineer, source).spent == Spent(0, Decimal(0))


def test_an_unknown_price_or_a_writer_that_never_ran_leaves_the_estimate_open(engineer: Engineer) -> None:
    summary = {
        "id": "w",
        "arm": "writer",
        "action": "rewrite",
        "inputs": {"text": "t", "instruction": "shorter"},
    }
    source = engineer.start(wait_step("a"), {**summary, "depends_on": ["a"]})
    work(engineer, source, "a", tokens=5, dollars=None)
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)

    seen = look(engineer, source, "a")

    assert [step.spent for step in seen.runs] == [Spent(5, None), Spent(None, None)]
    assert seen.spent == Spent(None, None)


def test_a_task_that_was_never_planned_is_planned_first(engineer: Engineer) -> None:
    source = engineer.submit(wait_step("a"))
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=source)

    assert look(engineer, source) == RetryPreview(is_planned=False)
    with pytest.raises(InvalidInput, match="never planned"):
        look(engineer, source, "a")


def test_what_a_retry_refuses_its_preview_refuses(engineer: Engineer) -> None:
    with pytest.raises(InvalidOperation, match="still processing"):
        look(engineer, engineer.start(*CHAIN))
    with pytest.raises(InvalidInput, match="no such step"):
        look(engineer, _passed(engineer), "d")


def look(engineer: Engineer, task_id: str, from_step: str | None = None) -> RetryPreview:
    with statement(engineer.engine) as conn:
        return preview(conn, engineer.task(task_id), from_step=from_step)


def told(seen: RetryPreview) -> tuple[set[str], set[str]]:
    return {step.name for step in seen.reused}, {step.name for step in seen.runs}


def does(engineer: Engineer, task_id: str, from_step: str | None = None) -> tuple[set[str], set[str]]:
    """Retry a task; return the names of the rows that it reuses, and of those that it runs."""
    again = engineer.retry(task_id, from_step=from_step)
    rows = engineer.ask("SELECT name, reuses FROM steps WHERE task_id = %(id)s AND kind = 'step'", id=again)
    return {row["name"] for row in rows if row["reuses"]}, {row["name"] for row in rows if not row["reuses"]}


def work(engineer: Engineer, task_id: str, name: str, *, tokens: int, dollars: Decimal | None) -> Any:
    """Do a step whose only call of a model used so much."""
    claim = engineer.take(task_id, name)
    account = ClaimBudgetAccount(engineer.engine, claim)
    call, _ = account.reserve([UsageBound(1000, 0, dollars)])
    account.settle(call, Usage(tokens, 0), dollars)
    return engineer.store(claim, done())


def _passed(engineer: Engineer) -> str:
    task_id = engineer.start(*CHAIN)
    for name in ("a", "b", "c"):
        engineer.do(task_id, name)
    engineer.judge(task_id, verdict(Decision.PASSED))
    return task_id
