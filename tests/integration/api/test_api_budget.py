"""What a task's calls to models reserved and were charged, over HTTP."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from orchestrator.llm.completion import UsageBound
from orchestrator.llm.provider import Usage
from orchestrator.models.model_errors import ModelError
from orchestrator.models.task_contract import Budget
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.integration.api.assertions import assert_problem, assert_time
from tests.integration.api.conftest import AsCaller, Caller
from tests.integration.budget_kit import complete, reserve, working
from tests.integration.kit import Engineer
from tests.llm_kit import PURPOSE, ModelCaller


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


def test_each_call_is_listed_with_its_model_and_purpose_and_open_ones_with_what_they_reserve(
    call: Caller, engineer: Engineer, fake: FakeLLM
) -> None:
    claim, account = working(engineer, Budget(max_tokens=1000, max_cost_dollars=Decimal(2)))
    fake.add(Scripted("yes", input_tokens=12, output_tokens=3))
    complete(engineer, claim, ModelCaller(fake))
    reserve(account, UsageBound(20, 30, Decimal("0.5")))

    answer = call("GET", f"/v1/tasks/{claim.task_id}/budget").json

    settled, reserved = answer["entries"]
    assert_time(settled["at"])
    assert_time(settled["settled_at"])
    assert {name: settled[name] for name in settled.keys() - {"at", "settled_at", "reserved_tokens"}} == {
        "step": "a",
        "step_id": claim.id,
        "round": 1,
        "attempt": 1,
        "call": 1,
        "purpose": PURPOSE,
        "model": "openai:fake-model",
        "reserved_dollars": 0.0,
        "settled_tokens": 15,
        "settled_dollars": 0.0,
        "state": "settled",
    }
    assert settled["reserved_tokens"] > 100
    figures = ("reserved_tokens", "reserved_dollars", "settled_tokens", "settled_dollars", "state", "model")
    assert [reserved[name] for name in figures] == [50, 0.5, None, None, "reserved", None]
    assert answer["limits"] == {"max_tokens": 1000, "max_cost_dollars": 2.0}
    assert answer["totals"] == {
        "settled_tokens": 15,
        "settled_dollars": 0.0,
        "reserved_tokens": 50,
        "reserved_dollars": 0.5,
    }


def test_calls_of_a_completion_that_failed_over_are_told_apart(
    call: Caller, engineer: Engineer, fake: FakeLLM
) -> None:
    claim, _ = working(engineer)
    fake.fail(Fault.BAD_JSON, Fault.BAD_JSON)

    with pytest.raises(ModelError):
        complete(engineer, claim, ModelCaller(fake, ["openai:fake-model", "anthropic:fake-other"]))

    entries = call("GET", f"/v1/tasks/{claim.task_id}/budget").json["entries"]
    assert [(entry["call"], entry["model"]) for entry in entries] == [
        (1, "openai:fake-model"),
        (2, "anthropic:fake-other"),
    ]


def test_an_unknown_cost_is_null_and_makes_the_total_unknown(call: Caller, engineer: Engineer) -> None:
    claim, account = working(engineer)
    for cost in (None, Decimal("0.25")):
        account.settle(reserve(account, UsageBound(1, 1, cost)), Usage(1, 1), cost)

    answer = call("GET", f"/v1/tasks/{claim.task_id}/budget").json

    assert [entry["settled_dollars"] for entry in answer["entries"]] == [None, 0.25]
    assert answer["totals"]["settled_dollars"] is None
    assert answer["totals"]["settled_tokens"] == 4


def test_entries_come_in_pages_whose_totals_are_those_of_the_task(call: Caller, engineer: Engineer) -> None:
    claim, account = working(engineer)
    for _ in range(3):
        account.settle(reserve(account, UsageBound(5, 5, Decimal(0))), Usage(2, 1), Decimal(0))
    path = f"/v1/tasks/{claim.task_id}/budget"

    first = call("GET", f"{path}?limit=2").json
    last = call("GET", f"{path}?after={first['next_after']}").json

    assert [entry["call"] for entry in first["entries"] + last["entries"]] == [1, 2, 3]
    assert (first["next_after"], last["next_after"]) == (2, 3)
    assert first["totals"] == last["totals"]
    assert last["totals"]["settled_tokens"] == 9


def test_an_unchanged_budget_is_not_sent_again(call: Caller, engineer: Engineer) -> None:
    claim, account = working(engineer)
    path = f"/v1/tasks/{claim.task_id}/budget"
    etag = call("GET", path).headers["ETag"]

    unchanged = call("GET", path, headers={"If-None-Match": etag})
    reserve(account, UsageBound(5, 5, Decimal(0)))
    changed = call("GET", path, headers={"If-None-Match": etag})

    assert (unchanged.status_code, changed.status_code) == (304, 200)


def test_the_budget_of_another_tenant_is_not_found(as_caller: AsCaller, engineer: Engineer) -> None:
    claim, _ = working(engineer)

    assert_problem(as_caller("other")("GET", f"/v1/tasks/{claim.task_id}/budget"), 404, "resource_not_found")
    assert_problem(
        as_caller(scopes=("task:submit",))("GET", f"/v1/tasks/{claim.task_id}/budget"),
        403,
        "insufficient_permissions",
    )


def test_a_trace_of_odd_shape_hides_the_models_only(call: Caller, engineer: Engineer) -> None:
    claim, account = working(engineer)
    reserve(account, UsageBound(5, 5, Decimal(0)))
    odd = """{"step_id": 1, "attempts": [7, "x", {"call": "1e9", "model": []}]}"""
    for payload in (odd, """{"attempts": 7}""", "7"):
        engineer.ask(
            "INSERT INTO traces (task_id, round, kind, payload)"
            " VALUES (%(task_id)s, 1, 'model', CAST(%(payload)s AS jsonb)) RETURNING id",
            task_id=claim.task_id,
            payload=payload,
        )

    [entry] = call("GET", f"/v1/tasks/{claim.task_id}/budget").json["entries"]

    assert (entry["reserved_tokens"], entry["model"], entry["purpose"]) == (10, None, None)


def test_dollars_are_exact_to_the_hundred_millionth(call: Caller, engineer: Engineer) -> None:
    claim, account = working(engineer)
    account.settle(
        reserve(account, UsageBound(5, 5, Decimal("0.00000003"))), Usage(2, 1), Decimal("0.00000001")
    )

    [entry] = call("GET", f"/v1/tasks/{claim.task_id}/budget").json["entries"]

    assert (entry["reserved_dollars"], entry["settled_dollars"]) == (3e-8, 1e-8)
