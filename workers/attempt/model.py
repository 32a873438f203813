"""Lets a claimed piece of work ask the models: within its task's budget, its deadline, and with secrets taken out."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine

from orchestrator.lifecycle import metered_calls
from orchestrator.llm import cancellation
from orchestrator.llm.completion import Completion, CompletionRequest
from orchestrator.llm.embedding import Embedder, Vectors
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.prompt import Message
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import StepError, Stopped
from orchestrator.models.model_errors import ModelBusy, ModelUnavailable
from orchestrator.safety import redact

OpenModels = Callable[[], ModelChain]
OpenEmbedder = Callable[[], Embedder | None]


@dataclass(frozen=True)
class ClaimModel:
    """The models, as one claim may ask them; `completions` are what they answered so far.

    `open_models` is called at the first question: most work asks none, and the SDKs are dear. When `is_stopped` says
    that the attempt is to stop, a call under way is closed: Stopped. `claimed_at` is of time.monotonic().
    """

    open_models: OpenModels
    engine: Engine
    claim: Claim
    deadline: float
    is_stopped: Callable[[], bool]
    completions: list[Completion] = field(default_factory=list)
    claimed_at: float = field(default_factory=time.monotonic)

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        max_output_tokens: int,
        purpose: str,
        avoid: Collection[str] = (),
    ) -> Completion:
        """Ask, and keep the answer in mind; see orchestrator.lifecycle.metered_calls.guarded_complete.

        What looks like a secret does not leave the house; personal data does, for quotes are checked verbatim. Models
        that are free again after the task's deadline only are not waited for: ModelUnavailable.
        """
        try:
            completion = self._answer(
                messages, schema, max_output_tokens=max_output_tokens, purpose=purpose, avoid=avoid
            )
        except ModelBusy as busy:
            left = self.claimed_at + self.claim.seconds_left - time.monotonic()
            if float(busy.details.get("retry_after", 0)) < left:
                raise
            raise ModelUnavailable(
                f"{busy.message} The task's deadline comes before.", details=busy.details
            ) from busy
        self.completions.append(completion)
        return completion

    def _answer(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        *,
        max_output_tokens: int,
        purpose: str,
        avoid: Collection[str],
    ) -> Completion:
        with _while_wanted(self.is_stopped):
            return metered_calls.guarded_complete(
                self.open_models(),
                self.engine,
                self.claim,
                CompletionRequest(
                    messages=[
                        replace(message, text=redact(message.text, only="secret.")) for message in messages
                    ],
                    purpose=purpose,
                    max_output_tokens=max_output_tokens,
                    deadline=self.deadline,
                    schema=schema,
                    avoid=avoid,
                ),
            )


@dataclass(frozen=True)
class ClaimEmbedder:
    """The embedding model, as one claim may ask it; secrets do not leave the house."""

    embedder: Embedder
    engine: Engine
    claim: Claim
    deadline: float
    is_stopped: Callable[[], bool]

    @property
    def model(self) -> str:
        """Return provider:model."""
        return self.embedder.model

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return a vector for each text; see orchestrator.lifecycle.metered_calls.guarded_embed."""
        with _while_wanted(self.is_stopped):
            return metered_calls.guarded_embed(
                self.embedder,
                self.engine,
                claim=self.claim,
                texts=[redact(text, only="secret.") for text in texts],
                deadline=self.deadline,
            )


@contextmanager
def _while_wanted(is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Let calls to models end when the attempt is to stop; a call that fails then has failed because of that."""
    try:
        with cancellation.cancellable(is_stopped):
            yield
    except StepError as error:
        if is_stopped():
            raise Stopped() from error
        raise
