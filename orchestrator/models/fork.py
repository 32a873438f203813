"""What a fork changes of the task that it repeats, and where its models' answers come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from orchestrator.models.record import known_members

MAX_PROMPT_CHARACTERS: Final = 4_000
MAX_CHANGED_STEPS: Final = 50


@dataclass(frozen=True)
class Fork:
    """What was set when a task was repeated; it is recorded in the new task's contract.

    `inputs` has {step: {input: value}}: these replace inputs of the same name, and null takes one away. `model` is the
    provider:model that plans and does steps; the judge asks its own. `prompt` has {step: instruction}, and one for the
    planner under `$plan`. `criteria` are the records of the acceptance criteria that replace those of the contract.
    `replay_of` is the task whose models' answers are given again: with `live_on_miss` a model is asked where there is
    none.
    """

    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    model: str | None = None
    prompt: Mapping[str, str | None] = field(default_factory=dict)
    criteria: Sequence[Mapping[str, Any]] | None = None
    replay_of: str | None = None
    live_on_miss: bool = False

    def __bool__(self) -> bool:
        return self != Fork()

    def over(self, earlier: "Fork | None") -> "Fork":
        """Return what a fork of a fork has set in all; a replay is not continued."""
        if earlier is None:
            return self
        inputs = {**earlier.inputs}
        for step, values in self.inputs.items():
            inputs[step] = {**inputs.get(step, {}), **values}
        return replace(
            self,
            inputs=inputs,
            model=self.model or earlier.model,
            prompt={**earlier.prompt, **self.prompt},
            criteria=earlier.criteria if self.criteria is None else self.criteria,
        )

    def to_record(self) -> dict[str, Any]:
        """Return what was set as JSON values."""
        unset = Fork()
        return {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if getattr(self, item.name) != getattr(unset, item.name)
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the fork of a record that `to_record` wrote."""
        return cls(**known_members(cls, record))


def is_replay(contract: Mapping[str, Any]) -> bool:
    """Tell whether the task of a contract's record is a replay."""
    return bool((contract.get("fork") or {}).get("replay_of"))
