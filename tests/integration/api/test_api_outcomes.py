"""Questions and lost effects over HTTP and on the command line: the same endpoints, other decisions."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.chord.database import statement
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.lifecycle.effects import Loss
from orchestrator.lifecycle.effects import ask as ask_about
from orchestrator.memory import effects
from tests.integration.api.assertions import assert_problem
from tests.integration.api.conftest import Caller, Octollm
from tests.integration.api.test_api_approvals import decide
from tests.integration.approval_kit import question
from tests.integration.kit import Engineer
from tests.ledger import append, registered


@pytest.fixture
def lost(engineer: Engineer, call: Caller) -> Iterator[dict[str, Any]]:
    """The question about a write whose worker was lost in the middle, as the API shows it."""
    with registered("ledger"):
        claim = engineer.take(engineer.start(append("a")), "a", owner="host:1")
        with statement(engineer.engine) as conn:
            assert effects.begin(conn, claim.id, attempt=claim.attempt, once=True)
        engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=claim.id)
        assert ask_about(
            engineer.engine, Loss(claim.id, claim.task_id, reason="lease_expired"), settings=engineer.settings
        )
        [approval] = call("GET", f"/v1/approvals?task_id={claim.task_id}").json["approvals"]
        yield approval


@pytest.fixture
def colour(engineer: Engineer, call: Caller) -> dict[str, Any]:
    """A question to a person, as the API shows it."""
    task_id = engineer.start(question("a", schema={"enum": ["red", "blue"]}, by="the painter"))
    [approval] = call("GET", f"/v1/approvals?task_id={task_id}").json["approvals"]
    return dict(approval)


def test_a_question_is_answered_by_what_fits_its_schema(colour: dict[str, Any], call: Caller) -> None:
    assert (colour["kind"], colour["allow"]) == ("question", ["answer", "reject"])
    assert colour["answer_schema"] == {"enum": ["red", "blue"]}

    wrong = decide(call, colour, "answer", answer="green")
    other = decide(call, colour, "approve")
    right = decide(call, colour, "answer", answer="blue")

    assert_problem(wrong, 422, "validation_error")
    assert_problem(other, 422, "validation_error")
    assert (right.json["state"], right.json["value"]) == ("answered", "blue")


@pytest.mark.parametrize("answer", [0, False, "", [], {}, 1.5])
def test_an_empty_value_is_an_answer(engineer: Engineer, call: Caller, answer: Any) -> None:
    task_id = engineer.start(question("a"))
    [approval] = call("GET", f"/v1/approvals?task_id={task_id}").json["approvals"]

    decided = decide(call, approval, "answer", answer=answer)

    assert (decided.status_code, decided.json["value"]) == (200, answer)


def test_a_lost_effect_shows_what_is_known_of_it(lost: dict[str, Any]) -> None:
    assert (lost["kind"], lost["allow"]) == ("outcome", ["run_again", "accept", "reject"])
    assert "Did step a take effect?" in lost["ask"]
    assert lost["proposal"]["effect"]["worker"] == "host:1"
    assert lost["answer_schema"] is not None


def test_a_lost_effect_is_run_again_once(lost: dict[str, Any], call: Caller, engineer: Engineer) -> None:
    answers = [decide(call, lost, "run_again", comment="I looked: no line") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[0].json["state"] == "run_again"
    assert engineer.states(lost["task_id"])["a"] == "queued"


def test_a_lost_effect_is_accepted_with_an_output_of_its_action(lost: dict[str, Any], call: Caller) -> None:
    missing, wrong = decide(call, lost, "accept"), decide(call, lost, "accept", answer={"no": "output"})
    right = decide(call, lost, "accept", answer={"summary": "s", "key": "k"})

    assert_problem(missing, 422, "validation_error")
    assert_problem(wrong, 422, "validation_error")
    assert (right.json["state"], right.json["value"]) == ("accepted", {"summary": "s", "key": "k"})


def test_a_lost_effect_is_decided_on_the_command_line(
    octollm: Octollm, lost: dict[str, Any], colour: dict[str, Any]
) -> None:
    listed = octollm("approvals")[1]
    shown = [octollm("approvals", one["approval_id"])[1] for one in (lost, colour)]
    refused = octollm("accept", lost["approval_id"], '{"no": "output"}')
    accepted = octollm("accept", lost["approval_id"], '{"summary": "s", "key": "k"}', "--json")
    answered = octollm("answer", colour["approval_id"], '"red"', "--json")

    for text in ("waits for outcome until", "waits for question by the painter until"):
        assert text in listed
    assert f"octollm run-again {lost['approval_id']} | octollm accept {lost['approval_id']} JSON" in shown[0]
    assert '"idempotency_key"' in shown[0]
    assert f"octollm answer {colour['approval_id']} JSON" in shown[1]
    assert refused[0] == ExitStatus.REFUSED
    assert json.loads(accepted[1])["state"] == "accepted"
    assert json.loads(answered[1])["value"] == "red"
