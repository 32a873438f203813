"""Texts are summarised, explained and drafted by the whole product, without a model and with a scripted one."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.acceptance.model_stack import asking
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted
from tests.waiting import wait_until

MANUAL = (Path(__file__).parents[2] / "examples" / "manual.md").read_bytes()


@pytest.fixture(scope="module")
def model_stack(fake: FakeLLM) -> Iterator[Stack]:
    """A stack whose only model is the fake one."""
    with asking(fake, LEASE_SECONDS="8", HEARTBEAT_SECONDS="1") as running:
        yield running


@pytest.fixture
def reader(model_stack: Stack, fake: FakeLLM) -> Client:
    """A client of the stack with a model, which has no script yet."""
    fake.forget()
    return client_of(model_stack, tenant="acme")


def test_a_document_is_summarised_without_a_model_by_its_own_sentences(client: Client) -> None:
    manual = client.upload(MANUAL, filename="manual.md")

    task = client.run("Summarise this document", attachments=[manual])

    assert task["status"] == "completed", task
    result = task["result"]
    assert (result["validation_passed"], result["warnings"]) == (True, [])
    assert "[manual.md:" in result["output"]
    assert {step["arm_id"] for step in task["steps"]} == {"writer", "judge"}


def planned(fake: FakeLLM, *steps: dict[str, Any], result: str) -> None:
    """Script a plan whose answer is the member `result` of its first step."""
    answer = {"$from": steps[0]["id"], "pointer": result}
    plan = {"rationale": "as asked", "confidence": 0.9, "steps": list(steps), "result": answer}
    fake.answer(plan, match="Plan this task")


SUMMARY = {"id": "summary", "description": "Summarise it", "arm": "writer", "action": "summarise"}
VERIFY = {
    "id": "verify",
    "description": "Check the quotes",
    "arm": "judge",
    "action": "verify",
    "inputs": {"citations": {"$from": "summary", "pointer": "/citations"}},
}
SUMMARISED = {
    "sentences": [
        {"text": "Late goods cost nothing.", "citations": [{"passage": 1, "quote": "refunded in full"}]}
    ],
    "missing": "",
}


@pytest.mark.slow
def test_a_document_is_summarised_by_a_model_with_quotes(reader: Client, fake: FakeLLM) -> None:
    planned(fake, SUMMARY, VERIFY, result="/text")
    fake.answer(SUMMARISED, match="You summarise numbered passages")
    manual = reader.upload(MANUAL, filename="manual.md")

    task = reader.run("Summarise the attached document", attachments=[manual])

    result = task["result"]
    assert (task["status"], result["validation_passed"], result["warnings"]) == ("completed", True, [])
    assert result["output"] == "Late goods cost nothing. [manual.md:3]"


@pytest.mark.slow
def test_a_function_is_explained_by_a_model_with_places(reader: Client, fake: FakeLLM) -> None:
    explain = {
        "id": "explain",
        "description": "Explain it",
        "arm": "coder",
        "action": "explain",
        "inputs": {"question": "What does add do?"},
        "acceptance_criteria": [
            {"text": "It names a place", "check": {"pointer": "/places/0/line", "at_least": 1}}
        ],
    }
    planned(fake, explain, result="/explanation")
    place = {"file": "add.py", "line": 2, "quote": "return a + b"}
    fake.answer({"explanation": "It adds two numbers.", "places": [place]}, match="You explain Python code")
    code = reader.upload(b"def add(a, b):\n    return a + b\n", filename="add.py")

    task = reader.run("Explain this function", attachments=[code])

    assert (task["status"], task["result"]["output"]) == ("completed", "It adds two numbers."), task
    assert task["result"]["validation_passed"] is True


@pytest.mark.slow
@pytest.mark.parametrize("criterion", [None, "It apologises"])
def test_a_draft_is_called_unproved_until_the_judge_has_checked_a_criterion(
    criterion: str | None, reader: Client, fake: FakeLLM
) -> None:
    draft = {
        "id": "letter",
        "description": "Write it",
        "arm": "writer",
        "action": "draft",
        "inputs": {"instruction": "Apologise for the delay", "save_as": "letter.txt"},
    }
    planned(fake, draft, result="/text")
    fake.answer({"text": "We are sorry."}, match="You write a text for a client")
    quotes = [{"step": "letter", "quote": "We are sorry."}]
    verdict = {"number": 1, "met": True, "explanation": "it does", "quotes": quotes}
    fake.answer({"verdicts": [verdict]}, match="You judge whether")
    criteria: dict[str, Any] = {"acceptance_criteria": [criterion]} if criterion else {}

    task = reader.run("Write a letter of apology", cache={"mode": "bypass"}, **criteria)

    result = task["result"]
    assert (task["status"], result["output"]) == ("completed", "We are sorry."), task
    assert ["unproved" in warning for warning in result["warnings"]] == ([] if criterion else [True])
    assert [artifact["name"] for artifact in result["artifacts"]] == ["letter.txt"]


@pytest.mark.slow
def test_a_writer_that_is_killed_while_it_reads_part_by_part_starts_again_within_the_budget(
    model_stack: Stack, reader: Client, fake: FakeLLM
) -> None:
    long = MANUAL + b"".join(b"Line %d is of no interest to anybody.\n" % number for number in range(250))
    notes = {"notes": [{"passage": 1, "quote": "refunded in full", "note": "what it costs"}]}
    planned(fake, SUMMARY, VERIFY, result="/text")
    fake.answer(notes, match="Take notes")
    fake.add(Scripted(fault=Fault.HANG, match="Take notes"))
    fake.answer(notes, *[{"notes": []}] * 5, match="Take notes")
    fake.answer(SUMMARISED, match="You summarise numbered passages")
    document = reader.upload(long, filename="long.md")

    def asked_for_notes() -> int:
        return sum("Take notes" in received.text for received in fake.received)

    task_id = reader.submit(
        "Summarise the attached document", attachments=[document], budget={"max_tokens": 60_000}
    )
    wait_until(lambda: asked_for_notes() == 2, 60, "the second part to be read")
    (pid,) = model_stack.pids("writer")
    os.kill(pid, signal.SIGKILL)
    task = reader.end_of(task_id, timeout=90)

    assert (task["status"], task["result"]["output"]) == (
        "completed",
        "Late goods cost nothing. [long.md:3]",
    ), task
    # the call that nobody heard the end of is charged as far as it was reserved
    assert 0 < task["metadata"]["tokens_used"] <= 60_000
    assert asked_for_notes() >= 5
    (step,) = [one for one in task["steps"] if one["step_id"] == "summary"]
    assert step["attempt"] == 2
