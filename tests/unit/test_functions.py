"""A function runs as an arm's action: its inputs, its context, its output, and what becomes of its errors."""

from typing import Any

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from orchestrator.models.errors import (
    ActionFailed,
    InvalidOutput,
    InvalidStepInput,
    OutcomeUnknown,
)
from orchestrator.models.step_result import ResultStatus
from tests.function_kit import error_of, run
from tests.unit.arm_kit import attachment_of
from tests.unit.conftest import Act
from workers.arms.functions import MAX_MESSAGE_CHARACTERS

SECRET = "hunter2-is-not-a-known-form"


def test_inputs_become_the_types_of_the_hints(act: Act) -> None:
    given = act(
        '@action(effects="none")\n'
        'def act(on: date, names: set[str], more: int = 2) -> dict[str, str]:\n    """Acts."""\n'
        '    return {"types": f"{type(on).__name__} {type(names).__name__} {more}"}\n',
        {"on": "2026-11-28", "names": ["a", "a"][:1]},
    )

    result = run(given)

    assert result.output == {"types": "date set 2"}
    assert result.provenance["action"] == "act"


def test_a_value_that_is_no_object_is_wrapped(act: Act) -> None:
    given = act(
        '@action(effects="none")\nasync def act() -> date:\n    """Acts."""\n    return date(2026, 11, 28)\n'
    )

    assert run(given).output == {"value": "2026-11-28"}


def test_the_context_knows_the_step_and_its_files(act: Act) -> None:
    given = act(
        '@action(effects="read", attachments="any")\n'
        'def act(context: Context) -> dict[str, str]:\n    """Acts."""\n'
        "    file = context.attachments[0]\n"
        '    facts = f"{context.task_id} {context.step} {context.round} {context.attempt} {context.feedback}"\n'
        '    return {"facts": facts,\n'
        '        "key": context.idempotency_key, "by_name": context.open(file.name).decode(),\n'
        '        "by_id": context.open(file.id).decode()}\n',
        files={"a.txt": b"hello"},
        feedback="not so",
    )

    assert run(given).output == {
        "facts": "task_0000000000000000 step 1 1 not so",
        "key": given.idempotency_key,
        "by_name": "hello",
        "by_id": "hello",
    }


def test_a_step_chooses_among_the_files_of_the_task(act: Act) -> None:
    text = (
        '@action(effects="read", attachments="one")\ndef act(context: Context) -> list[str]:\n    """Acts."""\n'
        "    return [file.name for file in context.attachments]\n"
    )
    files = {"a.txt": b"a", "b.txt": b"b"}

    chosen = run(act(text, {"attachment": attachment_of(b"b", "b.txt").sha256}, files=files))
    unclear = error_of(act(text, files=files))

    assert chosen.output == {"value": ["b.txt"]}
    assert unclear.code == "invalid_input"


def test_a_file_that_no_attachment_is_fails_the_step(act: Act) -> None:
    given = act(
        '@action(effects="read", attachments="any")\ndef act(context: Context) -> str:\n    """Acts."""\n'
        '    return context.open("b.txt").decode()\n',
        files={"a.txt": b"a"},
    )

    assert error_of(given).message.endswith(
        "raised FileNotFoundError: the step has no attachment 'b.txt'; its attachments: 'a.txt'"
    )


def test_progress_and_files_reach_the_attempt(act: Act) -> None:
    reports: list[tuple[float | None, str]] = []
    saved: list[tuple[str, bytes, str]] = []

    def save(*file: Any) -> str:
        saved.append(file)
        return "f" * 64

    given = act(
        '@action(effects="none")\ndef act(context: Context) -> str:\n    """Acts."""\n'
        '    context.progress(-3, "begins")\n    context.progress(133.333, "ends")\n'
        '    context.progress(None, "what?")\n'
        '    return context.save_file("r.txt", "é", "text/plain")\n',
        report_progress=lambda *report: reports.append(report),
        save_file=save,
    )

    result = run(given)

    assert result.output == {"value": "f" * 64}
    assert reports == [(0.0, "begins"), (100.0, "ends"), (None, "what?")]
    assert saved == [("r.txt", "é".encode(), "text/plain")]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            'raise ValueError("no such city\\nsecond line")',
            "action_failed",
            "raised ValueError: no such city",
        ),
        ("raise KeyError", "action_failed", "raised KeyError"),
        ("open('/nonexistent')", "action_failed", "raised FileNotFoundError: [Errno 2] No such file"),
        ('raise ToolFailed("the tool broke")', "tool_failed", "the tool broke"),
        ("raise SystemExit(3)", "action_failed", "raised RuntimeError: it called sys.exit(3)"),
        (
            "raise asyncio.CancelledError",
            "action_failed",
            "the function was cancelled, and not by its attempt",
        ),
        ("return b'\\xff\\xfe'", "invalid_output", "act returned a value that JSON can't hold"),
    ],
)
def test_what_a_function_raises_becomes_the_error_of_the_step(
    act: Act, body: str, code: str, message: str
) -> None:
    hint = "bytes" if "return" in body else "str"

    error = error_of(
        act(f'@action(effects="none")\nasync def act() -> {hint}:\n    """Acts."""\n    {body}\n')
    )

    assert error.code == code
    assert message in error.message
    assert "second line" not in error.message
    assert not error.retryable


def test_a_database_of_the_function_s_own_is_not_the_engine_s(act: Act) -> None:
    given = act(
        "from sqlalchemy.exc import OperationalError\n\n"
        '@action(effects="none")\ndef act() -> str:\n    """Acts."""\n'
        '    raise OperationalError("SELECT 1", None, ValueError("connection refused"))\n'
    )

    error = error_of(given)

    assert isinstance(error, ActionFailed)
    assert "raised OperationalError" in error.message


def test_the_engine_s_database_that_is_away_is_no_failure_of_the_function(act: Act) -> None:
    def away(_sha256: str) -> bytes:
        raise OperationalError("SELECT 1", None, ValueError("connection refused"))

    given = act(
        '@action(effects="read", attachments="any")\ndef act(context: Context) -> str:\n    """Acts."""\n'
        '    return context.open("a.txt").decode()\n',
        files={"a.txt": b"a"},
        open_artifact=away,
    )

    with pytest.raises(OperationalError):
        run(given)


def test_validation_by_pydantic_is_an_invalid_input_without_the_value(act: Act) -> None:
    given = act(
        "class City(BaseModel):\n    size: int\n\n"
        '@action(effects="none")\ndef act(name: str) -> str:\n    """Acts."""\n'
        "    return str(City(size=name))\n",
        {"name": SECRET},
    )

    error = error_of(given)

    assert isinstance(error, InvalidStepInput)
    assert error.details["errors"][0]["field"] == "size"
    assert SECRET not in str(error.details) + error.message


def test_an_input_that_only_the_type_can_judge_is_invalid(act: Act) -> None:
    given = act(
        '@action(effects="none")\ndef act(on: date) -> str:\n    """Acts."""\n    return str(on)\n',
        {"on": "yesterday"},
    )

    error = error_of(given)

    assert error.code == "invalid_input"
    assert error.details["errors"][0]["field"] == "on"


def test_an_author_s_own_error_has_its_code_and_may_be_retried(act: Act) -> None:
    text = '@action(effects="none")\ndef act(code: str) -> str:\n    """Acts."""\n    raise Failed(code, "no city")\n'

    own = run(act(text, {"code": "unknown_city"}))
    taken = run(act(text, {"code": "budget_exceeded"}))
    odd = run(act(text, {"code": "No City!"}))
    later = run(
        act('@action(effects="none")\ndef act() -> str:\n    """Acts."""\n    raise Retry("busy", after=7)\n')
    )
    replan = run(
        act(
            '@action(effects="none")\ndef act() -> str:\n    """Acts."""\n    raise NeedsReplan("a wide table")\n'
        )
    )

    assert own.status == ResultStatus.FAILED
    assert own.error == {"code": "unknown_city", "message": "no city", "retryable": False, "details": {}}
    assert taken.error["code"] == odd.error["code"] == "action_failed"
    assert replan.error == {
        "code": "needs_replan",
        "message": "a wide table",
        "retryable": False,
        "details": {},
    }
    assert later.error == {
        "code": "retry_later",
        "message": "busy",
        "retryable": True,
        "details": {"retry_after": 7},
    }


def test_messages_of_errors_hold_no_secret(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_API_KEY", SECRET)
    monkeypatch.setenv("WEATHER_PLACE", "a-private-place")
    text = (
        '@action(effects="none")\ndef act() -> str:\n    """Acts."""\n'
        f'    raise ValueError("GET https://x/?k={SECRET} a-private-place sk-ant-api03-{"A" * 95} " + "x" * 9_000)\n'
    )

    with structlog.testing.capture_logs() as logged:
        error = error_of(act(text, stated={"env": ["WEATHER_PLACE"]}))

    assert "Traceback" in logged[0]["exception"]
    assert SECRET not in str(logged)
    assert SECRET not in error.message
    assert "a-private-place" not in error.message
    assert "sk-ant-api03" not in error.message
    assert len(error.message) < MAX_MESSAGE_CHARACTERS + 100


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        ("dict[str, int]", '{"a": "x"}', "a: Input should be a valid integer"),
        ("str", "None", "it: Input should be a valid string"),
        ("float", 'float("nan")', "a number that is not finite"),
        ("dict[str, object]", '{"a": object()}', "JSON can't hold"),
    ],
)
def test_an_output_that_breaks_its_type_fails_the_step(act: Act, hint: str, value: str, message: str) -> None:
    given = act(f'@action(effects="none")\ndef act() -> {hint}:\n    """Acts."""\n    return {value}\n')

    error = error_of(given)

    assert isinstance(error, InvalidOutput)
    assert message in error.message


def test_an_output_is_checked_by_the_manifest_s_schema(act: Act) -> None:
    given = act(
        '@action(effects="none")\ndef act() -> dict[str, int]:\n    """Acts."""\n    return {"a": 1}\n'
    )
    frozen = {**given.action_contract.output_schema, "required": ["b"]}
    vars(given.action_contract)["output_schema"] = frozen

    assert error_of(given).code == "invalid_output"


@pytest.mark.parametrize(
    ("body", "known"),
    [
        ("raise ValueError('it broke')", False),
        ("return 3", False),
        ("context.ask('how?')", False),
        ("raise Failed('no_money', 'the account is empty')", True),
        ("raise Retry()", True),
    ],
)
def test_the_effect_of_a_write_that_runs_once_is_open_after_an_accident(
    act: Act, body: str, *, known: bool
) -> None:
    given = act(
        f'@action(effects="write")\ndef act(context: Context) -> str:\n    """Acts."""\n    {body}\n',
        stated={"asks_models": True},
    )

    if known:
        assert run(given).error is not None
    else:
        assert isinstance(error_of(given), OutcomeUnknown)


def test_inputs_that_are_refused_had_no_effect(act: Act) -> None:
    given = act(
        '@action(effects="write")\ndef act(on: date) -> str:\n    """Acts."""\n    return ""\n', {"on": "x"}
    )

    assert error_of(given).code == "invalid_input"


def test_a_model_is_asked_only_if_the_manifest_says_so(act: Act) -> None:
    text = (
        '@action(effects="none")\ndef act(context: Context) -> str:\n    """Acts."""\n'
        '    return context.ask("how?")\n'
    )

    unstated = error_of(act(text))
    unconfigured = error_of(act(text, stated={"asks_models": True}))

    assert unstated.code == unconfigured.code == "no_model"
    assert "asks_models = true" in unstated.message
    assert "OPENAI_API_KEY" in unconfigured.message
    assert not isinstance(unstated, ActionFailed)
