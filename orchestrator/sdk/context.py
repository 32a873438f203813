"""Context: what an action may use besides its inputs; where it runs decides what is behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog


@dataclass(frozen=True)
class AttachedFile:
    """A file of the task; `id` is its sha256."""

    id: str
    name: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True)
class StepFacts:
    """Which step runs. `attempt` starts at 1 and rises with each try, `round` with each repair.

    `idempotency_key` is the same for each attempt at this step, and no other step has it: pass it to a service that
    knows such keys. `feedback` is the judge's, after a result that did not pass.
    """

    action: str
    task_id: str
    step: str
    round: int
    attempt: int
    idempotency_key: str
    feedback: str | None = None


class Surroundings(Protocol):
    """What a context reaches: an attempt of a worker, or the command line."""

    def seconds_left(self) -> float:
        """Return the seconds until the attempt's deadline."""
        ...

    def is_cancelled(self) -> bool:
        """Return whether the attempt must stop."""
        ...

    def checkpoint(self) -> None:
        """Raise when the attempt must stop."""
        ...

    def report(self, percent: float | None, message: str) -> None:
        """Show progress to those who watch the task. Raises nothing."""
        ...

    def read(self, file: AttachedFile) -> bytes:
        """Return the content of an attachment."""
        ...

    def save(self, name: str, content: bytes, media_type: str) -> str:
        """Store a file of the task's tenant and return its id."""
        ...

    def ask(self, prompt: str, schema: Mapping[str, Any] | None, material: Mapping[str, str]) -> Any:
        """Return a model's answer."""
        ...


class Context:
    """What an action may use besides its inputs: a parameter annotated `Context` is given it and is no input."""

    def __init__(
        self, facts: StepFacts, attachments: Sequence[AttachedFile], surroundings: Surroundings
    ) -> None:
        self._facts = facts
        self._surroundings = surroundings
        self.attachments = tuple(attachments)
        self.log = structlog.get_logger(f"octollm.action.{facts.action}")
        """Logs an event with its values: `context.log.info("forecast.fetched", city=city)`."""

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self._facts.task_id

    @property
    def step(self) -> str:
        """The step's id in its plan."""
        return self._facts.step

    @property
    def round(self) -> int:
        """1, and one more with each repair."""
        return self._facts.round

    @property
    def attempt(self) -> int:
        """1, and one more with each try at the step."""
        return self._facts.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for each attempt at this step and for no other step: pass it to a service that knows such keys."""
        return self._facts.idempotency_key

    @property
    def feedback(self) -> str | None:
        """What the judge found wrong with an earlier result of this step; None in the first round."""
        return self._facts.feedback

    @property
    def seconds_left(self) -> float:
        """The seconds until the attempt's deadline; 0 or less after it."""
        return self._surroundings.seconds_left()

    @property
    def cancelled(self) -> bool:
        """Whether the attempt must stop: the task was cancelled, the lease is lost, or the time is over."""
        return self._surroundings.is_cancelled()

    def checkpoint(self) -> None:
        """Stop the attempt here if it must stop; call it between units of work.

        Don't catch what it raises, except to clean up.
        """
        self._surroundings.checkpoint()

    def progress(self, percent: float | None, message: str = "") -> None:
        """Show how far the step is (0 to 100; None: unknown) and what it does. Also a checkpoint.

        The percentage never falls. At most one report a second is written; the last one is not lost.
        """
        self._surroundings.checkpoint()
        if percent is not None:
            percent = min(100.0, max(0.0, round(float(percent), 1)))
        self._surroundings.report(percent, str(message))

    def open(self, name: str) -> bytes:
        """Return the content of the attachment with this file name or id.

        Raises FileNotFoundError, and ValueError for a name that several attachments have.
        """
        found = [file for file in self.attachments if name in (file.id, file.name)]
        if not found:
            names = ", ".join(repr(file.name) for file in self.attachments) or "none"
            raise FileNotFoundError(f"the step has no attachment {name[:200]!r}; its attachments: {names}")
        if len({file.id for file in found}) > 1:
            raise ValueError(f"several attachments have the name {name[:200]!r}: open one by its id")
        return self._surroundings.read(found[0])

    def save_file(self, name: str, content: bytes | str, media_type: str = "application/octet-stream") -> str:
        """Store a file for the task's tenant and return its id, which belongs into the output.

        A text is stored as UTF-8. The same content has the same id: saving it again is safe.
        """
        written = content.encode() if isinstance(content, str) else bytes(content)
        return self._surroundings.save(name, written, media_type)

    def ask(
        self,
        prompt: str,
        schema: Mapping[str, Any] | None = None,
        *,
        material: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask a model, within the task's budget; return its text, or the object that `schema` describes.

        `prompt` is your own text. What somebody else wrote (a page, a file, an input) belongs into `material`, {label:
        text}: the model sees it between marks, as data, so that it can't give the model orders. A label consists of
        lower-case letters and '_'. The arm's manifest needs `asks_models = true`.
        """
        return self._surroundings.ask(prompt, schema, material or {})
