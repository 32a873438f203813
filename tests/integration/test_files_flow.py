"""Files flow between steps: a tool leaves them, later steps read them, and no step names a file that is not its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import transaction
from orchestrator.memory import files
from orchestrator.models.approval import Verb
from orchestrator.models.errors import InvalidInput, OctoError
from orchestrator.models.step_result import FILES, StepResult
from tests.integration.approval_kit import asked, decide, question
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import TENANT, Engineer
from workers.attempt.context import AttemptContext
from workers.sandbox.selection import SandboxStatus

WRITES = """
import os, pathlib
out = pathlib.Path(os.environ["OCTOLLM_OUT"])
(out / "report.csv").write_text("a,b\\n1,2\\n")
(out / "deep").mkdir()
(out / "deep" / "note.txt").write_text("late deliveries are refunded\\n")
"""


def stored(engine: Engine, name: str, content: bytes, tenant: str = TENANT) -> str:
    """Store a file as an upload does; return its id."""
    with transaction(engine) as conn:
        return files.put(conn, tenant, filename=name, media_type="text/plain", content=content).sha256


def do(engineer: Engineer, task_id: str, name: str, sandbox: SandboxStatus) -> StepResult:
    """Claim a step, run it through its concerns and store its result."""
    claim = engineer.take(task_id, name)
    result = run_step(AttemptContext.of(process_of(engineer), claim, sandbox=sandbox))
    engineer.store(claim, result)
    return result


def script(engineer: Engineer, text: str = WRITES) -> tuple[dict[str, Any], str]:
    """Return a step that runs a script, and the script's id."""
    made = stored(engineer.engine, "make.py", text.encode())
    return {"id": "make", "arm": "executor", "action": "script", "inputs": {"attachments": [made]}}, made


def reads(action: str, inputs: Mapping[str, Any], *, arm: str = "retriever") -> dict[str, Any]:
    """Return a step that reads what the script left."""
    return {"id": "read", "arm": arm, "action": action, "inputs": dict(inputs), "depends_on": ["make"]}


@pytest.mark.parametrize(
    "reference",
    [
        {"$file": {"from": "make", "name": "report.csv"}},
        {"$from": "make", "pointer": "/files/1"},
        {"$from": "make", "pointer": "/files/1/artifact_id"},
    ],
)
def test_a_step_reads_a_file_that_an_earlier_one_left(
    engineer: Engineer, sandbox: SandboxStatus, reference: dict[str, Any]
) -> None:
    make, attached = script(engineer)
    task_id = engineer.start(make, reads("inventory", {"attachment": reference}), attachments=(attached,))

    left = do(engineer, task_id, "make", sandbox)
    found = do(engineer, task_id, "read", sandbox)

    assert left.error is None, left.error
    assert [(file["name"], file["media_type"], file["size_bytes"]) for file in left.output["files"]] == [
        ("deep-note.txt", "text/plain", 29),
        ("report.csv", "text/csv", 8),
    ]
    assert left.provenance[FILES] == [file["artifact_id"] for file in left.output["files"]]
    assert found.error is None, found.error
    assert [(file["path"], file["bytes"]) for file in found.output["files"]] == [("report.csv", 8)]


def test_a_file_outside_a_place_of_files_stays_an_object(engineer: Engineer, sandbox: SandboxStatus) -> None:
    make, attached = script(engineer)
    reference = {"$file": {"from": "make", "name": "report.csv"}}
    task_id = engineer.start(make, reads("collect", {"values": {"csv": reference}}), attachments=(attached,))

    left = do(engineer, task_id, "make", sandbox)
    read = do(engineer, task_id, "read", sandbox)

    assert read.output["values"] == {"csv": left.output["files"][1]}


def test_several_files_of_a_step_are_read_at_once(engineer: Engineer, sandbox: SandboxStatus) -> None:
    make, attached = script(engineer)
    files_of_make = {"$from": "make", "pointer": "/files"}
    step = reads("search", {"query": "refunded", "attachments": files_of_make})
    task_id = engineer.start(make, step, attachments=(attached,))

    do(engineer, task_id, "make", sandbox)
    found = do(engineer, task_id, "read", sandbox)

    assert found.error is None, found.error
    assert [match["file"] for match in found.output["matches"]] == ["deep-note.txt"]


def test_a_file_that_was_not_left_is_a_clear_error(engineer: Engineer, sandbox: SandboxStatus) -> None:
    make, attached = script(engineer)
    reference = {"$file": {"from": "make", "name": "other.csv"}}
    task_id = engineer.start(make, reads("inventory", {"attachment": reference}), attachments=(attached,))

    do(engineer, task_id, "make", sandbox)
    read = do(engineer, task_id, "read", sandbox)

    assert read.error is not None
    assert read.error["code"] == "invalid_input"
    assert (
        "must leave one file named 'other.csv', and it left 0; its files: 'deep-note.txt', 'report.csv'"
        in (read.error["message"])
    )


def test_the_id_of_a_file_alone_does_not_let_a_step_read_it(
    engineer: Engineer, sandbox: SandboxStatus
) -> None:
    """A step can't have a later one read a file of the tenant whose id it knows."""
    foreign = stored(engineer.engine, "secret.txt", b"of another task")
    task_id = engineer.start(
        {"id": "make", "arm": "retriever", "action": "collect", "inputs": {"values": {"id": foreign}}},
        reads("inventory", {"attachment": {"$from": "make", "pointer": "/values/id"}}),
        attachments=(script(engineer)[1],),
    )

    do(engineer, task_id, "make", sandbox)
    read = do(engineer, task_id, "read", sandbox)

    assert read.error is not None
    assert "neither an attachment of this task nor a file that an earlier step left" in read.error["message"]


HOSTILE = """
import os, pathlib
out = pathlib.Path(os.environ["OCTOLLM_OUT"])
os.symlink("/etc/passwd", out / "link")
os.symlink("/", out / "root")
os.mkfifo(out / "pipe")
(out / "one").write_text("x")
os.link(out / "one", out / "two")
(out / "large").write_bytes(b"x" * (16 * 2**20 + 1))
os.truncate(os.open(out / "hole", os.O_CREAT | os.O_WRONLY), 2**25)
for number in range(60):
    (out / f"many-{number:02}").write_text("y")
"""


def test_only_regular_files_within_the_bounds_leave_the_sandbox(
    engineer: Engineer, sandbox: SandboxStatus
) -> None:
    make, attached = script(engineer, HOSTILE)
    task_id = engineer.start(make, attachments=(attached,))

    left = do(engineer, task_id, "make", sandbox)

    assert left.error is None, left.error
    assert (left.output["exit_code"], left.output["stderr_tail"]) == (0, "")
    assert [file["name"] for file in left.output["files"]] == [f"many-{number:02}" for number in range(50)]
    assert left.warnings[0].startswith("17 files in $OCTOLLM_OUT are not kept: at most 50 regular files")


def test_a_tenant_without_room_gets_an_error_that_says_so(engineer: Engineer, sandbox: SandboxStatus) -> None:
    make, attached = script(engineer)
    task_id = engineer.start(make, attachments=(attached,))
    claim = engineer.take(task_id, "make")
    process = process_of(engineer)
    full = replace(process, settings=replace(engineer.settings, tenant_max_stored_bytes=10))

    result = run_step(AttemptContext.of(full, claim, sandbox=sandbox))

    assert result.error is not None
    assert result.error["code"] == "output_too_large"
    assert "may store 10 bytes of files" in result.error["message"]
    assert result.error["details"] == {"setting": "TENANT_MAX_STORED_BYTES", "limit": 10}


@pytest.mark.parametrize("tenant", [TENANT, "another"])
def test_an_output_that_names_a_foreign_file_fails_its_step(
    engineer: Engineer, sandbox: SandboxStatus, tenant: str
) -> None:
    foreign = stored(engineer.engine, "secret.txt", b"not of this task", tenant)
    values = {"files": [{"name": "x", "artifact_id": foreign}]}
    task_id = engineer.start(
        {"id": "make", "arm": "retriever", "action": "collect", "inputs": {"values": values}}
    )

    result = do(engineer, task_id, "make", sandbox)

    assert result.error is not None
    assert result.error["code"] == "invalid_output"
    assert "neither saved nor was given" in result.error["message"]


def test_attachments_may_be_called_by_their_names(engineer: Engineer, sandbox: SandboxStatus) -> None:
    _, attached = script(engineer)
    other = stored(engineer.engine, "data.csv", b"1\n")
    plain = {"id": "read", "arm": "retriever", "action": "inventory", "inputs": {"attachment": "data.csv"}}
    named = {**plain, "id": "again", "inputs": {"attachment": {"$file": {"name": "data.csv"}}}}
    task_id = engineer.start(plain, named, attachments=(attached, other))

    first = do(engineer, task_id, "read", sandbox)
    second = do(engineer, task_id, "again", sandbox)

    assert [file["path"] for file in first.output["files"]] == ["data.csv"]
    assert first.output == second.output


def test_a_name_means_the_file_that_it_meant_when_the_task_was_submitted(
    engineer: Engineer, sandbox: SandboxStatus
) -> None:
    _, attached = script(engineer)
    data = stored(engineer.engine, "data.csv", b"1\n")
    step = {"id": "read", "arm": "retriever", "action": "inventory", "inputs": {"attachment": "data.csv"}}
    task_id = engineer.submit(step, attachments=(attached, data))
    stored(engineer.engine, "other.csv", b"1\n")

    engineer.plan(task_id)
    read = do(engineer, task_id, "read", sandbox)

    assert [file["sha256"] for file in read.output["files"]] == [data]


def test_a_plan_that_calls_an_unknown_attachment_is_refused_before_it_runs(engineer: Engineer) -> None:
    _, attached = script(engineer)
    step = {"id": "a", "arm": "retriever", "action": "inventory"}

    with pytest.raises(OctoError) as refused:
        engineer.submit({**step, "inputs": {"attachment": {"$file": {"name": "x"}}}}, attachments=(attached,))

    assert "the task has no attachment 'x'; its attachments: 'make.py'" in str(refused.value)


def test_tests_of_a_tenant_without_room_are_reported_without_their_files(
    engineer: Engineer, sandbox: SandboxStatus
) -> None:
    text = "import os, pathlib\ndef test_it():\n    pathlib.Path(os.environ['OCTOLLM_OUT'], 'a').write_text('1')\n"
    attached = stored(engineer.engine, "test_it.py", text.encode())
    for action, member in (("tests", "files"), ("coverage", "left_files")):
        task_id = engineer.start(
            {"id": "make", "arm": "executor", "action": action, "inputs": {}}, attachments=(attached,)
        )
        full = replace(process_of(engineer), settings=replace(engineer.settings, tenant_max_stored_bytes=10))

        result = run_step(AttemptContext.of(full, engineer.take(task_id, "make"), sandbox=sandbox))

        assert result.error is None
        assert result.output[member] == []
        assert any("1 files in $OCTOLLM_OUT are not kept: " in warning for warning in result.warnings)


def test_an_answer_names_only_files_that_its_task_was_given(engineer: Engineer) -> None:
    foreign = stored(engineer.engine, "secret.txt", b"not of this task")
    given = stored(engineer.engine, "given.txt", b"of this task")
    task_id = engineer.start(question("a"), attachments=(given,))

    with pytest.raises(InvalidInput, match="answer: names the file"):
        decide(engineer, asked(engineer, task_id, "a"), Verb.ANSWER, value={"at": [{"artifact_id": foreign}]})

    decide(engineer, asked(engineer, task_id, "a"), Verb.ANSWER, value={"at": [{"artifact_id": given}]})
    assert asked(engineer, task_id, "a").state == "answered"
