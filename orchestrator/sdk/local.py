"""LocalContext: a context without an engine, for an author's tests and for `octollm arm try`."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.sdk.context import AttachedFile, Context, StepFacts


class Cancelled(BaseException):
    """The local context was cancelled, or its time is over."""


class LocalContext(Context):
    """Keeps what an action reports, asks and saves: `reports`, `questions` and `saved` ({name: content}).

    `files` are the step's attachments (content by name). `answers` answer the action's questions to models, in turn.
    """

    def __init__(
        self,
        files: Mapping[str, bytes] | None = None,
        *,
        answers: Sequence[Any] = (),
        seconds: float = 60.0,
        action: str = "local.action",
        feedback: str | None = None,
        attempt: int = 1,
    ) -> None:
        self.reports: list[tuple[float | None, str]] = []
        self.questions: list[str] = []
        self.saved: dict[str, bytes] = {}
        self._contents = dict(files or {})
        self._answers = list(answers)
        self._deadline = time.monotonic() + seconds
        self._is_cancelled = False
        facts = StepFacts(action, "task_local", "local", 1, attempt, "local-key", feedback)
        attachments = [
            AttachedFile(_sha256(content), name, "application/octet-stream", len(content))
            for name, content in self._contents.items()
        ]
        super().__init__(facts, attachments, _Local(self))

    def cancel(self) -> None:
        """Ask the action to stop, as the engine does when the task is cancelled."""
        self._is_cancelled = True

    def on_report(self, percent: float | None, message: str) -> None:
        """Note a report of progress."""
        self.reports.append((percent, message))

    def on_save(self, name: str, content: bytes, media_type: str) -> None:
        """Note a saved file."""
        del media_type
        self.saved[name] = content

    def on_question(self, prompt: str, schema: Mapping[str, Any] | None, material: Mapping[str, str]) -> Any:
        """Return the next of the answers; raises LookupError when there is none."""
        del schema, material
        self.questions.append(prompt)
        if not self._answers:
            raise LookupError(
                "the action asks a model, and the context has no answer: LocalContext(answers=[...])"
            )
        return self._answers.pop(0)


class _Local:
    """What a LocalContext reaches: itself."""

    def __init__(self, context: LocalContext) -> None:
        self._context = context

    def seconds_left(self) -> float:
        return self._context._deadline - time.monotonic()

    def is_cancelled(self) -> bool:
        return self._context._is_cancelled or self.seconds_left() <= 0

    def checkpoint(self) -> None:
        if self.is_cancelled():
            reason = (
                "the action was cancelled" if self._context._is_cancelled else "the action's time is over"
            )
            raise Cancelled(reason)

    def report(self, percent: float | None, message: str) -> None:
        self._context.on_report(percent, message)

    def read(self, file: AttachedFile) -> bytes:
        return self._context._contents[file.name]

    def save(self, name: str, content: bytes, media_type: str) -> str:
        self._context.on_save(name, content, media_type)
        return _sha256(content)

    def ask(self, prompt: str, schema: Mapping[str, Any] | None, material: Mapping[str, str]) -> Any:
        return self._context.on_question(prompt, schema, material)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
