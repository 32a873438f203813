"""Gives an attempt its models: within the task's budget and the attempt's deadline, with secrets removed."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.lifecycle import metered_calls
from orchestrator.lifecycle.metered_calls import ClaimBudgetAccount
from orchestrator.llm import cancellation
from orchestrator.llm.completion import Completion, CompletionRequest
from orchestrator.llm.embedding import Embedder, Vectors
from orchestrator.llm.prompt import Message
from orchestrator.models.errors import StepError, Stopped
from orchestrator.models.model_errors import ModelBusy, ModelUnavailable
from orchestrator.safety import redact
from workers.attempt.context import AttemptContext
from workers.runtime.process import OpenModels


@dataclass(frozen=True)
class AttemptModel:
    """The models for one attempt; `completions` are their answers so far.

    `open_models` is called at the first question: most work asks none, and importing the SDKs takes seconds. When the
    attempt is stopped, a call in progress is closed and raises Stopped.
    """

    attempt: AttemptContext
    open_models: OpenModels
    completions: list[Completion] = field(default_factory=list)

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        max_output_tokens: int,
        purpose: str,
        avoid: Collection[str] = (),
        enforced: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Return an answer and add it to `completions`; see orchestrator.lifecycle.metered_calls.complete.

        Secrets are removed from the messages; personal data is not, because quotes are checked verbatim. Raises
        ModelUnavailable instead of ModelBusy when the models are free only after the task's deadline.
        """
        attempt = self.attempt
        try:
            with _stoppable(attempt.stop.is_set):
                models = self.open_models()
                request = CompletionRequest(
                    messages=[
                        replace(message, text=redact(message.text, only="secret.")) for message in messages
                    ],
                    purpose=purpose,
                    max_output_tokens=max_output_tokens,
                    deadline=attempt.deadline,
                    schema=schema,
                    avoid=avoid,
                    enforced=enforced,
                )
                completion = metered_calls.complete(
                    ClaimBudgetAccount(attempt.process.engine, attempt.claim),
                    lambda budget: models.complete(request, budget=budget),
                    purpose=purpose,
                )
        except ModelBusy as busy:
            left = attempt.started_at + attempt.claim.seconds_left - time.monotonic()
            if float(busy.details.get("retry_after", 0)) < left:
                raise
            raise ModelUnavailable(
                f"{busy.message} The task's deadline comes before.", details=busy.details
            ) from busy
        self.completions.append(completion)
        return completion


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
    """Return the attempt's models, unopened; None when no model is configured."""
    return AttemptModel(attempt, attempt.open_models) if attempt.open_models else None


def embedder_of(attempt: AttemptContext) -> AttemptEmbedder | None:
    """Open the embedding model and return it; None when none is configured."""
    embedder = attempt.open_embedder()
    return AttemptEmbedder(attempt, embedder) if embedder else None


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
