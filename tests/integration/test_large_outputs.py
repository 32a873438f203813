"""A large output is stored as a file; later steps and the judge read the whole output."""

import hashlib
import json
from typing import Any

import pytest
from sqlalchemy import event

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import output_offload
from orchestrator.lifecycle.output_offload import INLINE_BYTES
from orchestrator.memory import files, retention
from orchestrator.memory.hints import Hints
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Criterion
from orchestrator.models.verdict import Decision
from orchestrator.queue.app import make_app
from tests.integration.attempt_kit import run_step
from tests.integration.kit import TENANT, Engineer, wait_step
from workers.attempt import judging
from workers.attempt.context import AttemptContext

LARGE = {"wanted": "needle", "rest": "x" * INLINE_BYTES}
PLAN: list[dict[str, Any]] = [
    {"id": "all", "arm": "retriever", "action": "collect", "inputs": {"values": LARGE}, "depends_on": []},
    {
        "id": "part",
        "arm": "retriever",
        "action": "collect",
        "inputs": {"values": {"$from": "all", "pointer": "/values/wanted"}},
        "depends_on": ["all"],
    },
]


class Worker:
    """Runs steps as a worker of the retriever would."""

    def __init__(self, engineer: Engineer, **settings: Any) -> None:
        self.engineer = engineer
        self.process = WorkerProcess(
            settings=engineer.settings.__class__(**{**vars(engineer.settings), **settings}),
            engine=engineer.engine,
            hints=Hints(engineer.settings.redis_url),
            app=make_app(lambda: engineer.settings),
            owner="me",
        )

    def do(self, task_id: str, name: str) -> StepResult:
        """Claim a step, run it and store its result."""
        claim = self.engineer.take(task_id, name)
        result = run_step(AttemptContext.of(self.process, claim))
        self.engineer.store(claim, result)
        return result


@pytest.fixture
def worker(engineer: Engineer) -> Worker:
    """A worker with the usual limits."""
    return Worker(engineer)


def test_a_large_output_is_stored_as_a_file_and_the_row_holds_a_pointer(
    engineer: Engineer, worker: Worker
) -> None:
    result = worker.do(engineer.start(*PLAN), "all")

    with statement(engineer.engine) as conn:
        content = files.read(conn, TENANT, result.output["artifact_id"]) or b""
    assert result.output == {
        "artifact_id": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "media_type": "application/json",
        "summary": "2 values collected: rest, wanted",
    }
    assert json.loads(content)["values"] == LARGE
    assert len(json.dumps(result.to_record())) < 2_000
    assert result.provenance["milliseconds"] >= 0


def test_a_reference_reads_from_an_output_stored_as_a_file(engineer: Engineer, worker: Worker) -> None:
    task_id = engineer.start(*PLAN)
    worker.do(task_id, "all")

    assert worker.do(task_id, "part").output["values"] == "needle"


def test_the_judge_checks_the_whole_output_and_the_task_s_result_points_to_it(
    engineer: Engineer, worker: Worker
) -> None:
    criterion = Criterion(
        "the needle is there", {"step": "all", "pointer": "/values/wanted", "equals": "needle"}
    )
    task_id = engineer.start(PLAN[0], acceptance_criteria=(criterion,))
    pointer = worker.do(task_id, "all").output

    claim = engineer.take(task_id, "$judge")
    verdict = judging.judge(AttemptContext.of(worker.process, claim)).verdict

    assert verdict.decision is Decision.PASSED, verdict.summary
    assert verdict.output_value == {"all": pointer}
    assert "2 values collected" in verdict.summary
    assert [(file["step"], file["artifact_id"]) for file in verdict.artifacts] == [
        ("all", pointer["artifact_id"])
    ]


def test_an_output_larger_than_a_file_may_be_fails_the_step(engineer: Engineer) -> None:
    small = Worker(engineer, max_file_bytes=INLINE_BYTES)

    result = small.do(engineer.start(*PLAN), "all")

    assert result.status is ResultStatus.FAILED
    assert result.error
    assert result.error["code"] == "output_too_large"


def test_large_outputs_beyond_the_total_read_limit_are_not_read(
    engineer: Engineer, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = engineer.start(*PLAN)
    worker.do(task_id, "all")
    monkeypatch.setattr(output_offload, "MAX_READ_BYTES", INLINE_BYTES)

    result = worker.do(task_id, "part")

    assert result.error
    assert result.error["code"] == "output_too_large"
    assert f"at most {INLINE_BYTES} are read" in result.error["message"]


def test_an_output_s_file_is_kept_as_long_as_its_task(engineer: Engineer, worker: Worker) -> None:
    task_id = engineer.start(*PLAN)
    artifact_id = worker.do(task_id, "all").output["artifact_id"]
    engineer.ask("UPDATE artifacts SET created_at = now() - interval '31 days'")

    with transaction(engineer.engine) as conn:
        kept = retention.forget_artifacts(conn, days=30, limit=10)
        conn.exec_driver_sql("DELETE FROM tasks WHERE id = %(id)s", {"id": task_id})
        forgotten = retention.forget_artifacts(conn, days=30, limit=10)
        left = files.describe(conn, TENANT, [artifact_id])

    assert (kept, forgotten, left) == (0, 1, [])


def test_a_step_that_refers_to_a_lost_file_fails_with_invalid_input(
    engineer: Engineer, worker: Worker
) -> None:
    task_id = engineer.start(*PLAN)
    worker.do(task_id, "all")
    engineer.ask("DELETE FROM artifacts")

    result = worker.do(task_id, "part")

    assert result.error
    assert result.error["code"] == "invalid_input"


def test_a_step_with_a_small_output_and_no_references_sends_no_statement(worker: Worker) -> None:
    claim = worker.engineer.take(worker.engineer.start(wait_step("a")), "a")
    sent: list[str] = []

    def note(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(worker.process.engine, "before_cursor_execute", note)
    result = run_step(AttemptContext.of(worker.process, claim))
    event.remove(worker.process.engine, "before_cursor_execute", note)

    assert result.output["seconds"] >= 0
    assert sent == []
