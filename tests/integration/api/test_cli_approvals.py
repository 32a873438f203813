"""Approvals on the command line, against a real API and database; the test does the workers' part."""

import json
from typing import Any

import pytest

from orchestrator.cli.approvals import follow
from orchestrator.cli.client import ApiClient
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import Octollm
from tests.integration.kit import TENANT, Engineer, verdict, wait_step


def ask(engineer: Engineer, **gate: Any) -> tuple[str, str]:
    """Start a task whose step waits for approval; return the ids of the task and of the approval."""
    task_id = engineer.start(wait_step("a", approval={"ask": "Wait a little?", **gate}), wait_step("b", "a"))
    [row] = engineer.ask("SELECT id FROM approvals WHERE task_id = %(id)s", id=task_id)
    return task_id, row["id"]


def test_what_waits_is_listed_with_how_to_decide(octollm: Octollm, engineer: Engineer) -> None:
    assert octollm("approvals") == (ExitStatus.OK, "nothing waits for a person\n")
    task_id, approval_id = ask(engineer, by="the desk")

    status, output = octollm("approvals")
    shown = octollm("approvals", approval_id)[1]
    listed = json.loads(octollm("approvals", "--state", "all", "--task", task_id, "--json")[1])

    assert status == ExitStatus.OK
    for text in (
        approval_id,
        "by the desk until",
        "Wait a little?",
        '{"seconds": 0}',
        f"octollm approve {approval_id}",
    ):
        assert text in output
    assert shown == output
    assert [item["approval_id"] for item in listed["approvals"]] == [approval_id]
    assert octollm("approvals", "--assignee", "nobody")[1] == "nothing waits for a person\n"
    told = octollm("status", task_id)[1]
    assert "waiting for approval by the desk until" in told
    assert f"Wait a little? See and decide: octollm approvals {approval_id}" in told


def test_an_approved_task_runs_to_its_end(octollm: Octollm, engineer: Engineer) -> None:
    task_id, approval_id = ask(engineer)

    status, output = octollm("approve", approval_id, "--comment", "go on")
    engineer.do(task_id, "a")
    engineer.do(task_id, "b")
    engineer.judge(task_id, verdict(Decision.PASSED))
    watched = octollm("watch", task_id)[1]

    assert status == ExitStatus.OK
    assert f"{approval_id}  approved by {TENANT}/k (cli) at" in output
    assert f"octollm approve {approval_id}" in watched
    assert f"approved by {TENANT}/k: go on" in watched
    assert "100%  completed" in watched


def test_edited_inputs_are_sent(octollm: Octollm, engineer: Engineer) -> None:
    _, approval_id = ask(engineer)

    assert octollm("approve", approval_id, "--inputs", "{seconds")[0] == ExitStatus.USAGE
    status, output = octollm("approve", approval_id, "--inputs", '{"seconds": 1}', "--json")

    assert (status, json.loads(output)["value"]) == (ExitStatus.OK, {"seconds": 1})


def test_a_rejection_needs_a_comment_and_a_second_decision_is_refused(
    octollm: Octollm, engineer: Engineer
) -> None:
    _, approval_id = ask(engineer)

    assert octollm("reject", approval_id)[0] == ExitStatus.USAGE
    assert octollm("reject", approval_id, "--comment", "wrong day")[0] == ExitStatus.OK
    status, output = octollm("approve", approval_id)

    assert status == ExitStatus.REFUSED
    assert f"already rejected by {TENANT}/k" in output


@pytest.mark.parametrize("command", [("run-again",), ("accept", "{}"), ("answer", "1")])
def test_a_decision_of_another_kind_is_refused(
    octollm: Octollm, engineer: Engineer, command: tuple[str, ...]
) -> None:
    _, approval_id = ask(engineer)
    verb, *value = command

    status, output = octollm(verb, approval_id, *value)

    assert status == ExitStatus.REFUSED
    assert "must be one of approve, edit, reject" in output


def test_an_unknown_id_is_refused(octollm: Octollm) -> None:
    for command in (("approvals",), ("approve",), ("reject", "--comment", "no")):
        status, output = octollm(*command, "appr_0000000000000000")
        assert (status, output) == (ExitStatus.REFUSED, "octollm: There is no such approval.\n")


def test_following_shows_new_approvals_and_each_decision_once(
    server: ApiClient, octollm: Octollm, engineer: Engineer, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first = ask(engineer)
    happenings = iter(
        (lambda: ask(engineer), lambda: octollm("reject", first, "--comment", "no"), lambda: None)
    )
    printed: list[str] = []

    def happen() -> None:
        printed.append(capsys.readouterr().out)
        action = next(happenings, None)
        if action is None:
            raise KeyboardInterrupt
        action()

    follow(server, {first: "pending"}, lambda: server.get("/v1/approvals?state=pending"), wait=happen)

    _, appeared, decided, nothing = printed
    assert "waits for approval until" in appeared
    assert first not in appeared
    assert decided.startswith(f"{first}  rejected by {TENANT}/k (cli)")
    assert nothing == ""
