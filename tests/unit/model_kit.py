"""Gives arms and the planner a model in tests: the real SDKs on the scripted server, without a budget."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.llm.completion import Completion, CompletionRequest
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.prompt import Message
from orchestrator.models.model_limits import ModelLimits
from orchestrator.models.model_work import Work
from orchestrator.planner.by_model import PlanProposal
from orchestrator.planner.plan_schema import PLAN_SCHEMA
from tests.fake_llm.server import FakeLLM
from tests.llm_kit import ModelCaller
from workers.arms.base import models_used


@dataclass
class ScriptedModel:
    """Models on a fake server, as an assignment has them."""

    models: ModelChain
    completions: list[Completion] = field(default_factory=list)

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None = None,
        *,
        work: Work,
        purpose: str,
        avoid: Collection[str] = (),
        enforced: Mapping[str, Any] | None = None,
    ) -> Completion:
        """Ask, and keep the answer in mind."""
        deadline = time.monotonic() + 20
        completion = self.models.complete(
            CompletionRequest(messages, purpose, work, deadline, schema, avoid, None, enforced)
        )
        self.completions.append(completion)
        return completion

    def room(self, work: Work) -> int:
        """Return the room by the models' context windows, at two bytes a token."""
        return 2 * self.models.input_room(work)

    def propose(
        self, messages: Sequence[Message], *, purpose: str, enforced: Mapping[str, Any]
    ) -> PlanProposal:
        """Ask for a plan."""
        completion = self.ask(
            messages,
            PLAN_SCHEMA,
            work=Work.PLAN,
            purpose=purpose,
            enforced=enforced,
        )
        return PlanProposal(completion.value, completion.text, models_used([completion])[0])


def scripted(fake: FakeLLM, *chain: str, context_tokens: int = 128_000) -> ScriptedModel:
    """Return models on the fake server, with this context window: one of OpenAI's unless a chain is given."""
    names = chain or ("openai:fake-model",)
    limits = dict.fromkeys(names, ModelLimits(context_tokens, 2_000))
    return ScriptedModel(ModelCaller(fake, names, limits=limits).models)
