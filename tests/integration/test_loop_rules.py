"""What holds for every item of a step with for_each: permits, approvals, effects, files, the end of the task."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, event

from orchestrator.chord.database import transaction
from orchestrator.lifecycle import cancel, output_offload
from orchestrator.memory import files
from orchestrator.models import signing_key
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.verdict import Decision
from orchestrator.settings import Settings
from tests.integration.approval_kit import asked, decide
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import TENANT, Engineer, failed, verdict
from tests.integration.test_loops import each, find, found, run
from tests.ledger import append, registered
from workers.attempt.context import AttemptContext


def test_each_item_has_a_permit_for_itself_alone(engine: Engine, our_settings: Settings) -> None:
    key = signing_key.new_private_key()
    public = signing_key.public_key_of(key)
    engineer = Engineer(engine, replace(our_settings, permit_private_key=key, permit_public_key=public))
    task_id = found(engineer, "x", 1.0)
    run(engineer, task_id, "fix[]")

    claims = [engineer.take(task_id, name) for name in ("fix[0]", "fix[1]")]
    swapped = replace(claims[1], spec={**claims[1].spec, "item": "y"})

    results = [run_step(AttemptContext.of(process_of(engineer), claim)) for claim in (*claims, swapped)]
    assert [result.error and result.error["code"] for result in results] == [None, None, "permit_denied"]
    assert results[1].output["values"] == {"of": 1}


def test_each_item_asks_for_approval(engineer: Engineer) -> None:
    task_id = found(engineer, "x", "y", approval={"ask": "May it?"})
    begun = run(engineer, task_id, "fix[]")
    assert {message.state for message in begun.released} == {"waiting"}

    proposals = [asked(engineer, task_id, f"fix[{index}]").proposal["inputs"] for index in range(2)]
    decide(engineer, asked(engineer, task_id, "fix[1]"))

    assert proposals == [{"values": {"of": "x"}}, {"values": {"of": "y"}}]
    states = engineer.states(task_id)
    assert (states["fix[0]"], states["fix[1]"]) == ("waiting", "queued")


def test_an_item_that_took_effect_asks_before_it_acts_again(engineer: Engineer) -> None:
    with registered("ledger"):
        write = {**append("fix", "find"), "for_each": {"$from": "find", "pointer": "/values/list"}}
        task_id = engineer.start(find([]), write)
        engineer.do(task_id, "find", output={"summary": "found", "values": {"list": [1, 2]}})
        run(engineer, task_id, "fix[]")
        engineer.do(task_id, "fix[0]", output={"summary": "appended a line"})
        engineer.store(engineer.take(task_id, "fix[1]"), failed("outcome_unknown"))
        run(engineer, task_id, "fix")
        engineer.judge(task_id, verdict(Decision.FAILED, fix="once more"))

        again = engineer.retry(task_id)
        begun = run(engineer, again, "fix[]")

    assert [(message.name, message.state) for message in begun.released] == [("fix[1]", "waiting")]
    assert "took effect before" in asked(engineer, again, "fix[1]").ask


def test_a_file_can_be_an_item(engineer: Engineer) -> None:
    with transaction(engineer.engine) as conn:
        stored = files.put(conn, TENANT, filename="a.txt", media_type="text/plain", content=b"one\ntwo\n")
        secret = files.put(conn, TENANT, filename="s.txt", media_type="text/plain", content=b"secret\n")
    left = {"name": "a.txt", "artifact_id": stored.sha256, "media_type": "text/plain", "size_bytes": 8}
    step = each(
        arm="retriever", action="inventory", inputs={"attachment": {"$item": ""}},
        source={"$from": "find", "pointer": "/values/list"},
    )  # fmt: skip
    task_id = engineer.start(find([]), step)
    engineer.do(task_id, "find", output={"summary": "found", "values": {"list": [left, secret.sha256]}})
    run(engineer, task_id, "fix[]")

    results: list[Any] = [
        run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, name)))
        for name in ("fix[0]", "fix[1]")
    ]

    assert results[0].output["total_files"] == 1
    # the id of a file that the step before did not put out as a file gives no right to read it
    assert results[1].error is not None


def test_an_item_that_is_a_file_may_be_put_out_as_it_is(engineer: Engineer) -> None:
    with transaction(engineer.engine) as conn:
        stored = files.put(conn, TENANT, filename="a.txt", media_type="text/plain", content=b"one\n")
    left = {"name": "a.txt", "artifact_id": stored.sha256, "media_type": "text/plain", "size_bytes": 4}
    step = each(inputs={"values": [{"$item": ""}]}, source={"$from": "find", "pointer": "/values/list"})
    task_id = engineer.start(find([]), step)
    engineer.do(task_id, "find", output={"summary": "found", "values": {"list": [left]}})
    run(engineer, task_id, "fix[]")

    result: Any = run_step(AttemptContext.of(process_of(engineer), engineer.take(task_id, "fix[0]")))

    assert (result.error, result.output["values"]) == (None, [left])


def test_the_end_of_a_task_closes_its_items(engineer: Engineer) -> None:
    task_id = found(engineer, *range(20))
    run(engineer, task_id, "fix[]")
    engineer.take(task_id, "fix[0]")

    cancel.cancel(engineer.engine, tenant=TENANT, task_id=task_id)

    states = engineer.states(task_id)
    assert {states[f"fix[{index}]"] for index in range(20)} == {"cancelled"}
    assert states["fix"] == "skipped"


def test_items_with_too_many_bytes_fail_the_step(engineer: Engineer) -> None:
    task_id = found(engineer, *["x" * 1_000_000] * 17)

    run(engineer, task_id, "fix[]")
    run(engineer, task_id, "fix")

    error = engineer.row(task_id, "fix")["result"]["error"]
    assert "16,777,216 are allowed: let the step that makes the list put out less" in error["message"]


def test_a_large_output_is_read_once_for_the_questions_about_all_items(engineer: Engineer) -> None:
    whole = {"of": {"$item": ""}, "all": {"$from": "find", "pointer": "/summary"}}
    task_id = engineer.start(find([]), each(approval={"ask": "May it?"}, inputs={"values": whole}))
    output = {"summary": "found", "values": {"list": [1, 2, 3], "more": "x" * output_offload.INLINE_BYTES}}
    made, content = StepResult(ResultStatus.DONE, output=output), json.dumps(output).encode()
    with transaction(engineer.engine) as conn:
        made = output_offload.offload(conn, TENANT, made, name="find", content=content)
    engineer.store(engineer.take(task_id, "find"), made)

    with reading_files() as read:
        run(engineer, task_id, "fix[]")

    assert [asked(engineer, task_id, f"fix[{index}]").proposal["inputs"]["values"] for index in range(3)] == [
        {"of": index + 1, "all": "found"} for index in range(3)
    ]
    # by the spread itself, and for the questions
    assert len(read) == 2


@contextmanager
def reading_files() -> Iterator[list[str]]:
    """Collect the statements that read a file's content."""
    sent: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "artifact_chunks" in statement:
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)
