"""Runs one action of a function arm in this process, with what the command line gives in place of an engine."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import click

from orchestrator import settings
from orchestrator.llm import model_chain
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.completion import CompletionRequest
from orchestrator.llm.gate import FallbackGate
from orchestrator.llm.prompt import question_of_function
from orchestrator.models.errors import OctoError
from orchestrator.models.model_errors import NoModel
from orchestrator.models.model_work import Work
from orchestrator.rules.json_schema import SchemaFault, faults
from orchestrator.sdk import Failed, LocalContext, Retry
from orchestrator.sdk.call import call
from orchestrator.sdk.contracts import FunctionAction, functions_of
from orchestrator.sdk.errors import InvalidInputs, InvalidOutput
from orchestrator.sdk.local import Cancelled

# the settings demand them; a trial opens neither
_NO_SERVERS = {"DATABASE_URL": "postgresql://127.0.0.1/none", "REDIS_URL": "redis://127.0.0.1/0"}


class _TrialContext(LocalContext):
    """Prints progress and saved files on stderr; asks the models of the settings."""

    def __init__(self, files: Mapping[str, bytes], *, action: str, seconds: float, save: Path | None) -> None:
        super().__init__(files, action=action, seconds=seconds)
        self._save = save
        self._action = action

    def on_report(self, percent: float | None, message: str) -> None:
        shown = "" if percent is None else f"{percent:g} %"
        click.echo(f"{shown:>7}  {' '.join(message.split())}", err=True)

    def on_save(self, name: str, content: bytes, media_type: str) -> None:
        where = ""
        if self._save is not None:
            self._save.mkdir(parents=True, exist_ok=True)
            path = self._save / (PurePosixPath(name.replace("\\", "/")).name or "file")
            path.write_bytes(content)
            where = f" in {path}"
        click.echo(f"  saved  {name}: {len(content)} bytes, {media_type}{where}", err=True)

    def on_question(self, prompt: str, schema: Mapping[str, Any] | None, material: Mapping[str, str]) -> Any:
        known = settings.load({**_NO_SERVERS, **os.environ})
        if not known.models:
            raise NoModel
        messages, purpose = question_of_function(prompt, material)
        models = model_chain.open_models(
            known, gate=FallbackGate(), observe=lambda _: None, environ=os.environ, learned=LearnedFacts()
        )
        try:
            deadline = time.monotonic() + self.seconds_left
            request = CompletionRequest(messages, f"{self._action} {purpose}", Work.ANSWER, deadline, schema)
            completion = models.complete(request)
        finally:
            models.close()
        return completion.text if schema is None else completion.value


class WrongInputs(Exception):
    """The inputs break the action's contract."""


@dataclass(frozen=True)
class Trial:
    """One run of an action; `record` is the action's entry in the manifest."""

    function: FunctionAction
    record: Mapping[str, Any]
    context: LocalContext

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the output. Raises WrongInputs, InvalidOutput, TimeoutError and what the function raises."""
        if wrong := faults(self.record["input_schema"], dict(inputs)):
            raise WrongInputs("; ".join(map(_shown, wrong)))
        try:
            output = call(self.function, inputs, self.context)
        except Cancelled as error:
            raise TimeoutError(
                f"it ran longer than its limit of {self.record['timeout_seconds']:g} s"
            ) from error
        if wrong := faults(self.record["output_schema"], output):
            raise InvalidOutput(f"the output breaks its contract: {'; '.join(map(_shown, wrong))}")
        return output

    def is_accident(self, error: Exception) -> bool:
        """Tell whether the function raised the error by accident: its place in the code matters."""
        return not isinstance(
            error, WrongInputs | InvalidInputs | InvalidOutput | TimeoutError | Failed | Retry | OctoError
        )

    def describe(self, error: Exception) -> str:
        """Return what the step's error would be."""
        match error:
            case WrongInputs() | InvalidInputs():
                return f"invalid_input: {error}"
            case InvalidOutput():
                return f"invalid_output: {error}"
            case Failed():
                return f"{error.code}: {error.message}"
            case Retry():
                return f"retry_later: {error.message} (again after {error.after:g} s)"
            case OctoError():
                return f"{error.code}: {error.message}"
        return f"action_failed: {type(error).__name__}: {error}"


def trial_of(record: Mapping[str, Any], action: str, *, files: Sequence[Path], save: Path | None) -> Trial:
    """Import an arm's module and return a trial of one of its actions. Raises LookupError."""
    functions = functions_of(import_module(record["module"]))
    if action not in functions:
        raise LookupError(f"{record['module']} has no function for the action {action}")
    stated = record["actions"][action]
    context = _TrialContext(
        {path.name: path.read_bytes() for path in files} if stated["attachments"] != "none" else {},
        action=f"{record['arm_id']}.{action}",
        seconds=float(stated["timeout_seconds"]),
        save=save,
    )
    return Trial(functions[action], stated, context)


def _shown(fault: SchemaFault) -> str:
    return f"{'.'.join(map(str, fault.path)) or 'it'} {fault.message}"
