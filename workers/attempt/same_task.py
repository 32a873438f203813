"""Asks a model whether one output would answer two tasks whose goals are worded differently."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.llm.prompt import Prompt, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.model_work import ROOMS, Work
from orchestrator.models.task_contract import Budget
from workers.arms.base import Model

# the rest of the budget must pay for a plan when the answer is no
_MAX_BUDGET_SHARE = 0.15

_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"same": {"type": "boolean"}, "reason": {"type": "string", "maxLength": 400}},
    "required": ["same", "reason"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class PairAnswer:
    """A model's answer about two goals; `prompt` is name@version of the prompt."""

    is_same: bool
    reason: str
    prompt: str


def is_affordable(goal: str, other: str, budget: Budget) -> bool:
    """Return whether the question is small beside the task's budget; counts each byte as a token, an upper bound."""
    asked = sum(len(text.encode("utf-8", "surrogatepass")) for text in (_prompt().text, goal, other))
    return asked + ROOMS[Work.SAME_TASK].least <= _MAX_BUDGET_SHARE * budget.max_tokens


def judge_pair(goal: str, other: str, model: Model) -> PairAnswer:
    """Return the model's answer about two goals. Raises StepError when the model gives none."""
    prompt = _prompt()
    completion = model.ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(
                Role.USER, Untrusted("goal", goal), Untrusted("goal", other), trusted("Are they the same?")
            ),
        ],
        _SCHEMA,
        work=Work.SAME_TASK,
        purpose=prompt.purpose,
    )
    return PairAnswer(completion.value["same"], completion.value["reason"], prompt.purpose)


def _prompt() -> Prompt:
    return load_prompt("cache.same_task")
