"""Runs function arms: calls the author's function for a step, and turns what it raises into the step's error."""

import os
import re
import time
import traceback
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any, Final

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.llm.prompt import question_of_function
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.errors import (
    ActionFailed,
    InvalidOutput,
    InvalidStepInput,
    NeedsReplan,
    OctoError,
    OutcomeUnknown,
    StepError,
)
from orchestrator.models.model_errors import NoModel
from orchestrator.models.model_work import Work
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Attachment
from orchestrator.rules.json_schema import faults
from orchestrator.rules.schema_check import schema_faults
from orchestrator.safety import redact
from orchestrator.sdk import call, errors
from orchestrator.sdk.context import AttachedFile, Context, StepFacts
from orchestrator.sdk.contracts import FunctionAction, functions_of
from workers.arms.base import ActionArm, Arm, Assignment, answer
from workers.arms.sources import selected_attachments, single_attachment
from workers.sandbox.selection import SandboxStatus

RETRY_CODE: Final = "retry_later"
MAX_MESSAGE_CHARACTERS: Final = 500
_MAX_READ_CHARACTERS: Final = 5_000
_MAX_LOGGED_CHARACTERS: Final = 10_000
_LOGGED_FRAMES: Final = 20
_MAX_LISTED: Final = 20
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")
_SHORTEST_SECRET = 6

log = structlog.get_logger(__name__)


def make(arm_id: str, _sandbox: SandboxStatus) -> Arm:
    """Import the arm's module and return the arm. Raises what the import raises, and ContractFault."""
    return _arm(arm_id)


@cache
def _arm(arm_id: str) -> Arm:
    module = ARMS[arm_id].module
    if module is None:
        raise LookupError(f"the arm {arm_id} has no functions: its manifest has no module")
    functions = functions_of(import_module(module))
    return ActionArm({name: partial(_run, function) for name, function in functions.items()})


class _Attempt:
    """What an action's context reaches in an attempt.

    An error of the engine says nothing of an effect that the function may have had: of an action that runs once it
    becomes OutcomeUnknown. `lost` is the error of a database that went away,
    which is not the function's.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.lost: SQLAlchemyError | None = None

    def seconds_left(self) -> float:
        return self._assignment.deadline - time.monotonic()

    def is_cancelled(self) -> bool:
        return self._assignment.cancelled.is_set() or self.seconds_left() <= 0

    def checkpoint(self) -> None:
        try:
            self._assignment.checkpoint()
        except StepError as error:
            raise _open_outcome(self._assignment, error) from error

    def report(self, percent: float | None, message: str) -> None:
        self._assignment.report_progress(percent, message)

    def read(self, file: AttachedFile) -> bytes:
        content: bytes = self._reach(partial(self._assignment.open_artifact, file.id))
        return content

    def save(self, name: str, content: bytes, media_type: str) -> str:
        saved: str = self._reach(partial(self._assignment.save_file, name, content, media_type))
        return saved

    def ask(self, prompt: str, schema: Mapping[str, Any] | None, material: Mapping[str, str]) -> Any:
        return self._reach(partial(self._ask, prompt, schema, material))

    def _ask(self, prompt: str, schema: Mapping[str, Any] | None, material: Mapping[str, str]) -> Any:
        assignment = self._assignment
        if not ARMS[assignment.arm].asks_models:
            raise NoModel(
                f"the arm {assignment.arm} may not ask models: its manifest lacks asks_models = true"
            )
        if schema is not None and (wrong := schema_faults(schema)):
            raise ActionFailed(f"{_name(assignment)} asks a model with a schema that is wrong: {wrong[0]}")
        messages, purpose = question_of_function(prompt, material)
        completion = assignment.require_model().ask(
            messages, schema, work=Work.ANSWER, purpose=f"{_name(assignment)} {purpose}"
        )
        return completion.text if schema is None else completion.value

    def _reach(self, use: Any) -> Any:
        try:
            return use()
        except StepError as error:
            raise _open_outcome(self._assignment, error) from error
        except SQLAlchemyError as error:
            self.lost = error
            raise


def _run(function: FunctionAction, assignment: Assignment) -> StepResult:
    surroundings = _Attempt(assignment)
    context = Context(_facts(assignment), _files(assignment), surroundings)
    try:
        output = call.call(function, assignment.inputs, context)
    except errors.InvalidInputs as error:
        raise _invalid_input(assignment, error.found) from error
    except errors.NeedsReplan as error:
        return _failed(assignment, NeedsReplan.code, error.message, retryable=False)
    except errors.Failed as error:
        return _failed(assignment, _own_code(error.code), error.message, retryable=error.retryable)
    except errors.Retry as error:
        return _failed(assignment, RETRY_CODE, error.message, retryable=True, retry_after=error.after)
    except StepError:
        raise
    except Exception as error:
        if error is surroundings.lost:
            raise
        raise _open_outcome(assignment, _error_of(assignment, error)) from error
    if broken := faults(assignment.action_contract.output_schema, output):
        place = ".".join(map(str, broken[0].path)) or "it"
        wrong = InvalidOutput(
            f"the output of {_name(assignment)} breaks its contract: {place} {broken[0].message}"
        )
        raise _open_outcome(assignment, wrong)
    return answer(assignment, output)


def _facts(assignment: Assignment) -> StepFacts:
    return StepFacts(
        action=_name(assignment),
        task_id=assignment.task_id,
        step=assignment.name,
        round=assignment.round,
        attempt=assignment.attempt,
        idempotency_key=assignment.idempotency_key,
        feedback=assignment.feedback,
    )


def _files(assignment: Assignment) -> list[AttachedFile]:
    chosen: tuple[Attachment, ...] = ()
    match assignment.action_contract.attachments:
        case "one":
            chosen = (single_attachment(assignment),)
        case "any":
            chosen = selected_attachments(assignment)
    return [AttachedFile(file.sha256, file.filename, file.media_type, file.size_bytes) for file in chosen]


def _open_outcome(assignment: Assignment, error: StepError) -> StepError:
    """Return the error, or OutcomeUnknown for an action that runs once: its effect may have happened before."""
    if assignment.action_contract.runs_once and not isinstance(error, OutcomeUnknown):
        return OutcomeUnknown(f"{_name(assignment)} ended with {error.code}: {error.message}")
    return error


def _error_of(assignment: Assignment, error: Exception) -> StepError:
    """Return the step's error for what a function raised by accident; the log has its traceback."""
    if isinstance(error, ValidationError):
        return _invalid_input(assignment, call.messages_of(error))
    if isinstance(error, errors.InvalidOutput):
        return InvalidOutput(_public(assignment, str(error)))
    if isinstance(error, OctoError):
        return ActionFailed(_public(assignment, error.message))
    log.warning("action.failed", exception=_logged(assignment, error))
    said = _public(assignment, (str(error).strip().splitlines() or [""])[0])
    kind = type(error).__name__
    return ActionFailed(f"{_name(assignment)} raised {kind}{': ' + said if said else ''}")


def _invalid_input(assignment: Assignment, found: list[dict[str, str]]) -> InvalidStepInput:
    found = [{**one, "message": _public(assignment, one["message"])} for one in found[:_MAX_LISTED]]
    first = f"{found[0]['field'] or 'inputs'}: {found[0]['message']}" if found else "they are refused"
    return InvalidStepInput(
        f"the inputs of step {assignment.name} are wrong for {_name(assignment)}: {first}",
        details={"errors": found},
    )


def _failed(
    assignment: Assignment, code: str, message: str, *, retryable: bool, retry_after: float | None = None
) -> StepResult:
    error = {
        "code": code,
        "message": _public(assignment, message),
        "retryable": retryable,
        "details": {} if retry_after is None else {"retry_after": retry_after},
    }
    return StepResult(ResultStatus.FAILED, error=error)


def _own_code(code: str) -> str:
    """Return an author's code, unless it is malformed or one by which the engine decides something."""
    return code if _CODE.fullmatch(code) and code not in _engine_codes() else ActionFailed.code


@cache
def _engine_codes() -> frozenset[str]:
    found, waiting = set(), [OctoError]
    while waiting:
        kind = waiting.pop()
        found.add(kind.code)
        waiting.extend(kind.__subclasses__())
    return frozenset(found)


def _public(assignment: Assignment, message: str) -> str:
    """Return a message as one short line without secrets: neither known forms nor values of secret variables."""
    line = _without_secrets(assignment, " ".join(message[:_MAX_READ_CHARACTERS].split()))
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else line[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def _logged(assignment: Assignment, error: Exception) -> str:
    """Return the traceback for the log, which knows no secrets of arms."""
    text = "".join(traceback.format_exception(error, limit=-_LOGGED_FRAMES))
    # cut twice, so that the first cut leaves no part of a secret
    return _without_secrets(assignment, text[: 2 * _MAX_LOGGED_CHARACTERS])[:_MAX_LOGGED_CHARACTERS]


def _without_secrets(assignment: Assignment, text: str) -> str:
    for secret in _secrets(ARMS[assignment.arm].env):
        text = text.replace(secret, "[redacted]")
    return redact(text, only="secret.")


def _secrets(names: tuple[str, ...]) -> list[str]:
    """Return the values of the arm's own variables and of those whose names say that they are secret."""
    values = {
        value
        for name, value in os.environ.items()
        if (name in names or _SECRET_NAME.search(name)) and len(value) >= _SHORTEST_SECRET
    }
    return sorted(values, key=len, reverse=True)


def _name(assignment: Assignment) -> str:
    return f"{assignment.arm}.{assignment.action}"
