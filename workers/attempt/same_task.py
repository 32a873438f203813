"""Asks a model whether one output would do for two tasks whose goals are worded differently."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.llm.prompt import Prompt, Role, Untrusted, compose, load_prompt, trusted
from orchestrator.models.task_contract import Budget
from workers.arms.base import Model

MAX_OUTPUT_TOKENS = 150
# what is left of the budget has to pay for a plan, if the answer is no
_LARGEST_SHARE = 0.15

_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"same": {"type": "boolean"}, "reason": {"type": "string", "maxLength": 400}},
    "required": ["same", "reason"],
    "additionalProperties": False,
}


def is_affordable(goal: str, other: str, budget: Budget) -> bool:
    """Tell whether the question is small beside the task's budget: a token is at least a byte."""
    asked = sum(len(text.encode("utf-8", "surrogatepass")) for text in (_prompt().text, goal, other))
    return asked + MAX_OUTPUT_TOKENS <= _LARGEST_SHARE * budget.max_tokens


@dataclass(frozen=True)
class Word:
    """A model's word on two goals; `prompt` is name@version of what it was asked."""

    is_same: bool
    reason: str
    prompt: str


def judge_pair(goal: str, other: str, model: Model) -> Word:
    """Return the model's word on two goals of one family. Raises StepError when there is none."""
    prompt = _prompt()
    completion = model.ask(
        [
            compose(Role.SYSTEM, prompt.fill()),
            compose(
                Role.USER, Untrusted("goal", goal), Untrusted("goal", other), trusted("Are they the same?")
            ),
        ],
        _SCHEMA,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        purpose=prompt.purpose,
    )
    return Word(completion.value["same"], completion.value["reason"], prompt.purpose)


def _prompt() -> Prompt:
    return load_prompt("cache.same_task")
