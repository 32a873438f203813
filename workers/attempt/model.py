"""Gives an attempt its models: within the task's budget and the attempt's deadline, with secrets removed."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from orchestrator.lifecycle import metered_calls
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm import cancellation
from orchestrator.llm.completion import Completion, CompletionRequest
from orchestrator.llm.embedding import Embedder, Vectors
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.prompt import Message, Untrusted, extend_user_message, trusted
from orchestrator.llm.provider import Progress
from orchestrator.models.errors import StepError, Stopped
from orchestrator.models.execution_state import StepKind
from orchestrator.models.model_choice import ModelName
from orchestrator.models.model_errors import ModelBusy, ModelUnavailable, NoModel
from orchestrator.models.model_limits import LEAST_INPUT_TOKENS
from orchestrator.models.model_work import Work
from orchestrator.safety import redact
from workers.attempt.context import AttemptContext
from workers.attempt.replay import AttemptAnswers
from workers.runtime.process import OpenModels

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 0.25
"""How often parts of an answer are sent on."""


class AnswerProgress:
    """Sends the parts of a streamed answer, gathered to a few a second, to those who watch the task.

    They are transient events: `plan.progress` or `step.progress`, without a number and stored nowhere. `answer` counts
    the answers of this attempt, as an earlier one may be corrected; `offset` is where the text begins in its answer.
    `reader` gets all parts at once.
    """

    def __init__(self, attempt: AttemptContext, *, purpose: str, reader: Progress | None = None) -> None:
        claim = attempt.claim
        self._show: Callable[[dict[str, Any]], None] = partial(attempt.process.hints.show, claim.task_id)
        self._type = "plan.progress" if claim.kind == StepKind.PLAN else "step.progress"
        self._about = {"step": claim.name, "arm": claim.arm, "attempt": claim.attempt, "purpose": purpose}
        self._reader = reader
        self._answer = 0
        self._offset = 0
        self._waiting = ""
        self._shown_at = 0.0

    def begin(self) -> None:
        """Begin another answer."""
        self._answer, self._offset, self._waiting = self._answer + 1, 0, ""
        if self._reader is not None:
            self._reader.begin()

    def add(self, text: str) -> None:
        """Add a part; send what was gathered if the last sending is PROGRESS_SECONDS ago."""
        self._waiting += text
        if self._reader is not None:
            self._reader.add(text)
        if time.monotonic() - self._shown_at >= PROGRESS_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if not self._waiting:
            return
        place = {"answer": self._answer, "offset": self._offset, "text": self._waiting}
        self._show({"type": self._type, "data": {**self._about, **place}})
        self._offset, self._waiting = self._offset + len(self._waiting), ""
        self._shown_at = time.monotonic()


_MAX_EMBEDDING_SECONDS = 30.0
_BYTES_A_TOKEN = 2
"""Fewer than nearly all texts have (docs/decisions/0021-what-a-call-reserves.md)."""
_BUDGET_SHARE = 4
"""A question may use the rest of the budget divided by this, so that corrections and later steps can be paid."""


@dataclass(frozen=True)
class AttemptModel:
    """The models for one attempt; `completions` are their answers so far.

    `open_models` is called at the first question: most work asks none, and importing the SDKs takes seconds. When the
    attempt is stopped, a call in progress is closed and raises Stopped.
    """

    attempt: AttemptContext
    open_models: OpenModels
    answers: AttemptAnswers
    completions: list[Completion] = field(default_factory=list)

    def room(self, work: Work) -> int:
        """Return how many bytes of material a question may have: what the models and the task's budget leave."""
        return self.answers.room(work, lambda: self._room(work))

    def _room(self, work: Work) -> int:
        attempt = self.attempt
        account = ClaimBudgetAccount(attempt.process.engine, attempt.claim)
        payable = account.tokens_left(attempt.contract.budget.max_tokens) // _BUDGET_SHARE
        room = self.open_models().input_room(work, model=_wanted_model(attempt))
        wish = len((_wish_for(attempt) or "").encode())
        return max(0, _BYTES_A_TOKEN * min(room, max(payable, LEAST_INPUT_TOKENS)) - wish)

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        work: Work,
        purpose: str,
        avoid: Collection[str] = (),
        enforced: Mapping[str, Any] | None = None,
        reader: Progress | None = None,
    ) -> Completion:
        """Return an answer and add it to `completions`; see orchestrator.lifecycle.metered_calls.complete.

        `reader` gets the answer while it is written, if the model's server streams.

        Secrets are removed from the messages; personal data is not, because quotes are checked verbatim. Raises
        ModelUnavailable instead of ModelBusy when the models are free only after the task's deadline.
        """
        attempt, progress = self.attempt, AnswerProgress(self.attempt, purpose=purpose, reader=reader)
        try:
            with _stoppable(attempt.stop.is_set):
                request = CompletionRequest(
                    messages=[
                        replace(message, text=redact(message.text, only="secret."))
                        for message in _instructed(attempt, messages)
                    ],
                    purpose=purpose,
                    work=work,
                    deadline=attempt.deadline,
                    schema=schema,
                    avoid=avoid,
                    progress=progress,
                    enforced=enforced,
                    model=_wanted_model(attempt),
                )
                completion = self._again(request) or self._complete(request)
        except ModelBusy as busy:
            left = attempt.started_at + attempt.claim.seconds_left - time.monotonic()
            if float(busy.details.get("retry_after", 0)) < left:
                raise
            raise ModelUnavailable(
                f"{busy.message} The task's deadline comes before.", details=busy.details
            ) from busy
        progress.flush()
        self.completions.append(completion)
        return completion

    def _again(self, request: CompletionRequest) -> Completion | None:
        """Return the answer that an equal request got when the task was first done; None to ask a model."""
        completion = self.answers.find(request)
        if completion is not None:
            kept = self.answers.kept(request, completion, is_replayed=True)
            account = ClaimBudgetAccount(self.attempt.process.engine, self.attempt.claim)
            metered_calls.replayed(account, completion, work=request.work, kept=kept)
        return completion

    def _complete(self, request: CompletionRequest) -> Completion:
        models = self.open_models()
        return metered_calls.complete(
            ClaimBudgetAccount(self.attempt.process.engine, self.attempt.claim),
            lambda budget: models.complete(request, budget=budget),
            purpose=request.purpose,
            work=request.work,
            keep=partial(self.answers.kept, request, is_replayed=False),
        )


def _instructed(attempt: AttemptContext, messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with the instruction that a fork gives to this step, or to the planner."""
    text = _wish_for(attempt)
    if text is None:
        return messages
    told = trusted("The author of the task adds this wish for your work, which goes before earlier wishes:")
    return extend_user_message(messages, told, Untrusted("wish", text))


def _wish_for(attempt: AttemptContext) -> str | None:
    fork, claim = attempt.contract.fork, attempt.claim
    # an item of a for_each is told what its step is told
    return fork.prompt.get(str(claim.spec.get("id", claim.name))) if fork else None


def _wanted_model(attempt: AttemptContext) -> ModelName | None:
    """Return the model that a fork chooses; the judge asks its own."""
    fork = attempt.contract.fork
    if fork is None or fork.model is None or attempt.claim.kind == StepKind.JUDGE:
        return None
    return ModelName(*fork.model.split(":", 1))


@dataclass(frozen=True)
class AttemptEmbedder:
    """The embedding model for one attempt; secrets are removed from the texts."""

    attempt: AttemptContext
    embedder: Embedder

    @property
    def model(self) -> str:
        """Return provider:model."""
        return self.embedder.model

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text; see orchestrator.lifecycle.metered_calls.embed."""
        attempt = self.attempt
        with _stoppable(attempt.stop.is_set):
            return metered_calls.embed(
                ClaimBudgetAccount(attempt.process.engine, attempt.claim),
                self.embedder,
                [redact(text, only="secret.") for text in texts],
                deadline=attempt.deadline,
            )


def model_of(attempt: AttemptContext) -> AttemptModel | None:
    """Return the attempt's models, unopened; None when no model is configured, except in a replay, which needs none."""
    answers = AttemptAnswers(attempt)
    if attempt.open_models is not None:
        return AttemptModel(attempt, attempt.open_models, answers)
    return AttemptModel(attempt, _none_to_open, answers) if answers.has_earlier() else None


def embedder_of(attempt: AttemptContext) -> AttemptEmbedder | None:
    """Open the embedding model and return it; None when none is configured, and in a replay that asks no model."""
    fork = attempt.contract.fork
    if fork is not None and fork.replay_of is not None and not fork.live_on_miss:
        return None
    embedder = attempt.open_embedder()
    return AttemptEmbedder(attempt, embedder) if embedder else None


def _none_to_open() -> ModelChain:
    raise NoModel()


class GoalMeaning:
    """The embedding of a task's goal, asked for when somebody first needs it, and never a second time."""

    def __init__(self, attempt: AttemptContext) -> None:
        self._attempt = attempt
        self._was_asked = False
        self._vector: Sequence[float] | None = None

    def vector(self) -> Sequence[float] | None:
        """Return the vector; None when no embedding model is configured, or when it failed. Raises Stopped."""
        if not self._was_asked:
            self._was_asked = True
            self._vector = self._embed()
        return self._vector

    def _embed(self) -> Sequence[float] | None:
        embedder = embedder_of(self._attempt.until(time.monotonic() + _MAX_EMBEDDING_SECONDS))
        if embedder is None:
            return None
        try:
            [vector] = embedder.embed([self._attempt.contract.goal])
        except StepError as failure:
            log.warning("goal.not_embedded", code=failure.code)
            return None
        return vector


@contextmanager
def _stoppable(is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Close model calls when the attempt is stopped, and raise Stopped for the errors that this causes."""
    try:
        with cancellation.cancellable(is_stopped):
            yield
    except StepError as error:
        if is_stopped():
            raise Stopped() from error
        raise
