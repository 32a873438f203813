"""The report of how a task ended."""

from typing import Any

import pytest

from orchestrator.cli.exit_status import ExitStatus, status_of_task
from orchestrator.cli.task_report import Decisions, lines_of_task, lines_of_verdict, lines_of_waiting
from tests.unit.recorded import TASK_ID, VERDICT


def _task(**members: Any) -> dict[str, Any]:
    result = {"output": "tests: 3 passed", "validation_passed": True, "warnings": [], "partial": False}
    return {
        "task_id": TASK_ID,
        "status": "completed",
        "result": result,
        "error": None,
        "metadata": None,
    } | members


def _text(lines: Any) -> str:
    return "\n".join(line for line, _ in lines)


def test_each_criterion_shows_whether_it_is_met_and_how_it_was_checked() -> None:
    text = _text(lines_of_verdict(VERDICT))

    assert "Verdict: failed (50 % of the criteria were checked)" in text
    assert "✗ No test fails  [by rule, step tests]" in text
    assert "? It reads well  [not checked]" in text
    assert "✓ No secret  [by rule]" in text


def test_each_criterion_is_listed_once() -> None:
    output = "Failed: 1 of 3 checks held.\n[tests] 3 tests\nNot met: No test fails: 1 of 3"
    warnings = ["not checked: It reads well (no model)", "tests: 2 files not read"]

    lines = [
        line for line, _ in lines_of_task(_task(result={"output": output, "warnings": warnings}), VERDICT)
    ]

    assert sum("No test fails" in line for line in lines) == 1
    assert sum("It reads well" in line for line in lines) == 1
    assert "  ! tests: 2 files not read" in lines


def test_an_answer_comes_before_what_the_steps_did() -> None:
    lines = [
        line
        for line, _ in lines_of_task(
            _task(
                result={"output": "n: 6", "summary": "Passed: 1 of 1 check held.\n[all] 1 value collected"}
            ),
            None,
        )
    ]

    assert lines[:5] == [
        "Result",
        "  n: 6",
        "Steps",
        "  Passed: 1 of 1 check held.",
        "  [all] 1 value collected",
    ]


def test_a_criterion_that_is_not_required_is_marked_so() -> None:
    finding = {**VERDICT["findings"][0], "required": False}

    text = _text(lines_of_verdict({**VERDICT, "findings": [finding]}))

    assert "– No test fails  [by rule, step tests, not required]" in text


def test_the_checked_share_counts_only_required_criteria() -> None:
    findings = [VERDICT["findings"][0], {**VERDICT["findings"][1], "required": False}]

    text = _text(lines_of_verdict({**VERDICT, "coverage": 1.0, "findings": findings}))

    assert "(100 % of the required criteria were checked)" in text


@pytest.mark.parametrize(
    ("spent", "told"),
    [
        ({"repairs": 1, "tokens_used": 1}, "1 repair · 1 token"),
        ({"repairs": 2, "tokens_used": 0}, "2 repairs · 0 tokens"),
        ({"repairs": 0, "replans": 1, "tokens_used": 0}, "planned again once · 0 tokens"),
        ({"repairs": 0, "replans": 2, "tokens_used": 0}, "planned again 2 times · 0 tokens"),
    ],
)
def test_counts_are_singular_or_plural(spent: dict[str, Any], told: str) -> None:
    assert _text(lines_of_task(_task(metadata=spent), None)).endswith(told)


def test_evidence_is_one_short_line_without_repetitions() -> None:
    evidence: list[dict[str, Any]] = [
        {"place": "tests:/failed", "value": 1},
        {"test": "test_a", "empty": None},
    ]
    finding = {
        "criterion": "c",
        "met": False,
        "checked_by": "rule",
        "explanation": "tests:/failed is 1, not 0",
    }

    text = _text(lines_of_verdict({**VERDICT, "findings": [{**finding, "evidence": evidence}]}))
    long = _text(
        lines_of_verdict({**VERDICT, "findings": [{**finding, "evidence": [{"quote": "x y" * 500}]}]})
    )

    assert "      evidence: test test_a" in text.splitlines()
    assert max(map(len, long.splitlines())) < 230


def test_a_partial_result_is_called_partial() -> None:
    task = _task(
        status="cancelled", result={"output": "lint: done", "partial": True, "warnings": ["not judged"]}
    )

    text = _text(lines_of_task(task, None))

    assert "Result (partial)" in text
    assert "! not judged" in text


def test_a_failed_task_shows_its_error() -> None:
    error = {"message": "No recipe fits this goal."}

    assert "No recipe fits this goal." in _text(
        lines_of_task(_task(status="failed", error=error, result=None), None)
    )


@pytest.mark.parametrize(
    ("task", "status"),
    [
        (_task(), ExitStatus.OK),
        (_task(result={"validation_passed": False}), ExitStatus.NOT_VALIDATED),
        (_task(status="failed", result=None), ExitStatus.FAILED),
        (_task(status="cancelled", result=None), ExitStatus.CANCELLED),
        (_task(status="processing", result=None), ExitStatus.OK),
    ],
)
def test_the_exit_status_shows_how_a_task_ended(task: dict[str, Any], status: ExitStatus) -> None:
    assert status_of_task(task) == status


def test_tokens_and_cost_are_shown_for_each_kind_of_work() -> None:
    plan = {"work": "plan", "attempts": [_called(1_000, 200, "0.01"), _called(1_500, 300, "0.02")]}
    judge = {"work": "judge", "attempts": [{**_called(10, 5, None), "called": False}, _called(500, 50, None)]}
    old = {"purpose": "coder.patch@1.0.0", "attempts": [_called(None, None, "0")]}
    refused = {"work": "answer", "error": "budget_exceeded", "attempts": []}

    spending = Decisions(None, [plan, judge, old, refused]).spending()
    text = _text(lines_of_task(_task(), None, spending))

    assert spending[0] == {"work": "plan", "calls": 2, "tokens": 3_000, "cost_dollars": 0.03}
    assert "plan: 2 calls, 3000 tokens, $0.0300" in text
    assert "judge: 1 call, 550 tokens, price unknown" in text
    assert "coder.patch: 1 call, 0 tokens, $0.0000" in text
    assert "answer:" not in text


def test_of_very_many_sentences_the_first_are_shown_and_the_others_counted() -> None:
    sentences = [
        {"text": "The task is being executed.", "approval_id": None},
        {"text": "Step a waits for approval.", "approval_id": "appr_1"},
        *({"text": f"Step s{number} waits.", "approval_id": None} for number in range(30)),
    ]

    lines = list(lines_of_waiting({"sentences": sentences, "left_out": 5}))

    assert lines[0] == "Step a waits for approval. See and decide: octollm approvals appr_1"
    assert lines[-2:] == ["Step s18 waits.", "and 16 more open rows"]
    assert list(lines_of_waiting({"sentences": [], "left_out": 0})) == []


def _called(input_tokens: int | None, output_tokens: int | None, dollars: str | None) -> dict[str, Any]:
    return {
        "called": True,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_dollars": dollars,
    }
