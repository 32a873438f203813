"""A function runs as a step of a real task: its progress is in the event log, its files in the store."""

import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import cancel
from orchestrator.memory import claims, files
from orchestrator.memory.claims import Claim
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.step_result import StepResult
from tests.fake_llm.server import FakeLLM
from tests.function_kit import add_arm
from tests.integration.attempt_kit import process_of, run_step
from tests.integration.kit import TENANT, Engineer, done, wait_step
from tests.llm_kit import ModelCaller
from tests.waiting import wait_until
from workers.attempt.concerns.effect import begin_effect
from workers.attempt.concerns.failure import fail_on_error
from workers.attempt.concerns.own_files import keep_own_files
from workers.attempt.context import AttemptContext
from workers.attempt.execution import bind_inputs, run_arm
from workers.attempt.pipeline import wrap
from workers.attempt.progress import MAX_MESSAGE_CHARACTERS, StepProgress

NOTHING = '@action(effects="none")\ndef act() -> str:\n    """Acts."""\n    return ""\n'
Begin = Callable[..., AttemptContext]


@pytest.fixture
def worker(engineer: Engineer) -> WorkerProcess:
    """A worker's process."""
    return process_of(engineer)


@pytest.fixture
def begin(
    engineer: Engineer, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Begin:
    """Claim the step `a` of a new task, as one of an arm with the action `act`; return its attempt."""

    def start(
        text: str, *, inputs: dict[str, Any] | None = None, stated: dict[str, Any] | None = None, **more: Any
    ) -> AttemptContext:
        arm = add_arm(monkeypatch, tmp_path, text, **(stated or {}))
        claim = engineer.take(engineer.start(wait_step("a"), wait_step("b", "a")), "a")
        spec = {**claim.spec, "action": "act", "inputs": inputs or {}}
        return AttemptContext.of(worker, replace(claim, arm=arm.arm_id, spec=spec), **more)

    return start


def progress_of(engineer: Engineer, task_id: str) -> list[tuple[float | None, str]]:
    """Return the percentages and messages in the task's event log."""
    return [
        (told.payload["percent"], told.payload["message"])
        for told in engineer.events(task_id)
        if told.type == "step.progress"
    ]


def types_of(engineer: Engineer, task_id: str) -> list[str]:
    """Return the types of the events about the step a."""
    return [told.type for told in engineer.events(task_id) if told.payload.get("step") == "a"]


def store(engineer: Engineer, attempt: AttemptContext, result: StepResult) -> None:
    """Complete the step."""
    engineer.store(attempt.claim, result)


def test_progress_is_between_the_start_and_the_end_of_its_step(engineer: Engineer, begin: Begin) -> None:
    attempt = begin(
        '@action(effects="none")\ndef act(context: Context) -> str:\n    """Acts."""\n'
        '    context.progress(40, "half  of\\nit")\n    return "done"\n'
    )

    result = run_step(attempt)
    store(engineer, attempt, result)

    task_id = attempt.claim.task_id
    assert result.output == {"value": "done"}
    assert types_of(engineer, task_id) == ["step.queued", "step.started", "step.progress", "step.completed"]
    [told] = [told for told in engineer.events(task_id) if told.type == "step.progress"]
    assert told.payload == {
        "step": "a",
        "step_id": attempt.claim.id,
        "round": 1,
        "arm": "executor",
        "attempt": 1,
        "percent": 40,
        "message": "half of it",
    }
    numbers = [told.seq for told in engineer.events(task_id)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_many_reports_become_one_at_once_and_the_last_one_later(
    engineer: Engineer, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.attempt.progress.PAUSE_SECONDS", 300.0)
    progress = StepProgress(attempt := begin(NOTHING))

    for percent in (10, 30, 20):
        progress.report(percent, f"at {percent}")
    soon = progress_of(engineer, attempt.claim.task_id)
    timer = progress._timer
    timer.cancel()
    timer.function()

    assert soon == [(10, "at 10")]
    assert progress_of(engineer, attempt.claim.task_id) == [(10, "at 10"), (30, "at 20")]
    assert 200 < timer.interval <= 300


def test_a_report_that_came_too_soon_is_written_by_itself(
    engineer: Engineer, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.attempt.progress.PAUSE_SECONDS", 0.2)
    progress = StepProgress(attempt := begin(NOTHING))

    progress.report(10, "")
    progress.report(20, "")

    wait_until(lambda: (20, "") in progress_of(engineer, attempt.claim.task_id), 10, "the second report")


def test_equal_reports_are_written_once(engineer: Engineer, begin: Begin) -> None:
    attempt = begin(NOTHING)
    progress = StepProgress(attempt)

    for _ in range(3):
        progress._written_at = -1e9
        progress.report(10, "same")

    assert progress_of(engineer, attempt.claim.task_id) == [(10, "same")]


def test_a_message_is_a_short_line_without_secrets_and_controls(engineer: Engineer, begin: Begin) -> None:
    key = f"sk-ant-api03-{'A' * 95}"
    attempt = begin(NOTHING)

    StepProgress(attempt).report(None, f"with\x00 \x1b[2J\ud800{key} " + "x " * 100_000)

    [(percent, message)] = progress_of(engineer, attempt.claim.task_id)
    assert percent is None
    assert message.startswith("with [2J [redacted:secret.")
    assert len(message) <= MAX_MESSAGE_CHARACTERS


def _take_over(engineer: Engineer, claim: Claim) -> None:
    engineer.ask("UPDATE steps SET due = now() - interval '1 second' WHERE id = %(id)s", id=claim.id)
    assert engineer.take(claim.task_id, "a", owner="another").attempt == 2


def _complete(engineer: Engineer, claim: Claim) -> None:
    engineer.store(claim, done())


def _cancel(engineer: Engineer, claim: Claim) -> None:
    cancel.cancel(engineer.engine, tenant=TENANT, task_id=claim.task_id)


@pytest.mark.parametrize("end", [_take_over, _complete, _cancel])
def test_no_progress_follows_the_end_of_an_attempt(
    engineer: Engineer, begin: Begin, end: Callable[[Engineer, Claim], None]
) -> None:
    attempt = begin(NOTHING)
    end(engineer, attempt.claim)

    progress = StepProgress(attempt)
    progress.report(50, "too late")
    progress._written_at = -1e9
    progress.report(60, "again")

    assert progress_of(engineer, attempt.claim.task_id) == []


def test_a_report_that_waits_for_the_end_of_its_step_is_not_written(engineer: Engineer, begin: Begin) -> None:
    attempt = begin(NOTHING)
    claim = attempt.claim
    written: list[bool] = []

    def report() -> None:
        with statement(engineer.engine) as conn:
            written.append(claims.report(conn, claim.id, attempt=1, percent=1, message="late"))

    with transaction(engineer.engine) as conn:
        conn.exec_driver_sql("SELECT 1 FROM tasks WHERE id = %(id)s FOR UPDATE", {"id": claim.task_id})
        conn.exec_driver_sql("UPDATE steps SET attempt = 2 WHERE id = %(id)s", {"id": claim.id})
        late = threading.Thread(target=report)
        late.start()
        wait_until(lambda: engineer.ask("SELECT 1 FROM pg_locks WHERE NOT granted"), 10, "a wait for a lock")
    late.join(10)

    assert written == [False]
    assert progress_of(engineer, claim.task_id) == []


def test_a_step_saves_files_for_its_tenant(engineer: Engineer, begin: Begin) -> None:
    attempt = begin(
        '@action(effects="none")\ndef act(context: Context) -> dict[str, str]:\n    """Acts."""\n'
        '    return {"file": context.save_file("../r.txt", "hello", "text/plain")}\n'
    )

    result = run_step(attempt)
    output = result.output

    with statement(engineer.engine) as conn:
        [stored] = files.describe(conn, TENANT, [output["file"]])
        content = files.read(conn, TENANT, output["file"])
    assert result.provenance["files"] == [output["file"]]
    assert (stored.filename, stored.media_type, content) == ("r.txt", "text/plain", b"hello")


@pytest.mark.parametrize(("effects", "code"), [("none", "invalid_output"), ("write", "outcome_unknown")])
def test_an_action_can_not_put_out_a_file_that_it_did_not_save(
    engineer: Engineer, begin: Begin, effects: str, code: str
) -> None:
    """A later step would read it: the action would learn what its task was not given."""
    with transaction(engineer.engine) as conn:
        foreign = files.put(conn, TENANT, filename="f", media_type="text/plain", content=b"secret").sha256
    attempt = begin(
        f'@action(effects="{effects}")\ndef act() -> dict[str, str]:\n    """Acts."""\n'
        f'    return {{"name": "f", "artifact_id": "{foreign}"}}\n'
    )

    outcome = wrap(run_arm, [fail_on_error, bind_inputs, begin_effect, keep_own_files])(attempt)

    assert outcome.error["code"] == code
    assert "neither saved nor was given" in outcome.error["message"]


@pytest.mark.parametrize(
    ("limits", "body", "message"),
    [
        ({"max_file_bytes": 4}, 'context.save_file("a", b"12345")', "a file may hold 4"),
        (
            {"tenant_max_stored_bytes": 9},
            'context.save_file("a", b"12345")\n    context.save_file("b", b"67890")',
            "The tenant may store 9 bytes",
        ),
        (
            {},
            'for n in range(101):\n        context.save_file("a", b"1")',
            "A step may save 100 files",
        ),
    ],
)
def test_the_files_of_a_step_are_limited(
    engineer: Engineer, begin: Begin, limits: dict[str, Any], body: str, message: str
) -> None:
    attempt = begin(
        f'@action(effects="none")\ndef act(context: Context) -> str:\n    """Acts."""\n    {body}\n    return ""\n'
    )
    settings = replace(engineer.settings, **limits)

    result = run_step(replace(attempt, process=replace(attempt.process, settings=settings)))

    assert result.error["code"] == "output_too_large"
    assert message in result.error["message"]
    [stored] = engineer.ask("SELECT coalesce(sum(size_bytes), 0) AS bytes FROM artifacts")
    assert stored["bytes"] <= 5


def test_a_question_to_a_model_is_charged_to_the_task(engineer: Engineer, begin: Begin) -> None:
    with FakeLLM() as fake:
        caller = ModelCaller(fake, tokens=None)
        fake.answer({"size": 3})
        attempt = begin(
            '@action(effects="read")\ndef act(context: Context) -> dict[str, int]:\n    """Acts."""\n'
            '    schema = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"],\n'
            '        "additionalProperties": False}\n'
            '    return context.ask("How large?", schema, material={"page": "a page"})\n',
            stated={"asks_models": True},
            open_models=lambda: caller.models,
        )

        result = run_step(attempt)
        sent = str(fake.received[0])

    assert result.output == {"size": 3}
    assert result.usage["calls"] == 1
    assert Decimal(result.usage["input_tokens"]) > 0
    assert result.provenance["models"][0]["prompt"].endswith(".act function.ask@1.0.0")
    assert "How large?" in sent
    [ledger] = engineer.ask(
        "SELECT count(*) AS calls FROM ledger WHERE step_id = %(id)s", id=attempt.claim.id
    )
    assert ledger["calls"] == 1


def test_only_its_author_knows_that_a_write_had_no_effect(engineer: Engineer, begin: Begin) -> None:
    text = '@action(effects="write")\ndef act() -> str:\n    """Acts."""\n    raise {}\n'
    unknown = begin(text.format('ValueError("it broke")'))
    known = begin(text.format('Failed("no_money", "the account is empty")'))

    with pytest.raises(Ignore):
        run_step(unknown)
    result = run_step(known)

    [asked] = engineer.ask("SELECT kind, state, ask FROM approvals")
    assert engineer.row(unknown.claim.task_id, "a")["state"] == "waiting"
    assert (asked["kind"], asked["state"]) == ("outcome", "pending")
    assert "raised ValueError: it broke" in asked["ask"]
    assert (result.error["code"], result.error["retryable"]) == ("no_money", False)


def test_retry_is_a_row_with_a_later_time(engineer: Engineer, begin: Begin) -> None:
    attempt = begin(
        '@action(effects="read")\ndef act() -> str:\n    """Acts."""\n    raise Retry("busy", after=30)\n'
    )

    with pytest.raises(Ignore):
        run_step(attempt)

    row = engineer.row(attempt.claim.task_id, "a")
    assert (row["state"], row["failures"]) == ("queued", 1)
    assert (row["not_before"] - row["started_at"]).total_seconds() > 25
    assert engineer.task(attempt.claim.task_id).status is not TaskStatus.FAILED
