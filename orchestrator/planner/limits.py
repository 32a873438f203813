"""What a plan that is made again may use: no arm and no effect that the task's first plan did not have."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.models.arm_capability import ArmCapability, find_action
from orchestrator.models.plan import Plan, PlanStep
from orchestrator.models.task_contract import EFFECTS

# what does not change the work of a step: how it is told, checked, limited, and who else could do it
_NOT_WORK = frozenset(
    {"description", "capabilities", "acceptance_criteria", "repair_inputs", "timeout_seconds", "optional", "required",
     "estimate", "approval", "offers", "excluded"}
)  # fmt: skip
_TOLD_ONLY = frozenset({"description", "capabilities", "estimate", "approval", "offers", "excluded"})


@dataclass(frozen=True)
class PlanLimits:
    """The rights of a plan made again, after text of others was read: `arms` by id, and effects up to `effects`.

    Besides `arms` it may use the built-in ones. `earlier` is the plan that it replaces, `done` are the steps of that
    which are done: in the new plan they cost nothing.
    """

    arms: frozenset[str]
    effects: str
    earlier: Plan
    done: frozenset[str] = frozenset()

    def narrowed(self, arms: Mapping[str, ArmCapability]) -> dict[str, ArmCapability]:
        """Return those of the arms that the plan may use."""
        return {arm_id: arm for arm_id, arm in arms.items() if arm_id in self.arms or arm.kind == "builtin"}

    def paid(self, steps: Sequence[PlanStep]) -> frozenset[str]:
        """Return the steps that are done and unchanged."""
        return unchanged(steps, self.earlier.steps, among=self.done)

    def is_same(self, steps: Sequence[PlanStep]) -> bool:
        """Tell whether the steps do and check what those of the earlier plan do."""
        return _by_id(steps, _TOLD_ONLY) == _by_id(self.earlier.steps, _TOLD_ONLY)


def rights_of(plan: Plan) -> tuple[frozenset[str], str]:
    """Return the arms that may do a step of the plan, and the strongest effects of their actions."""
    offers = {offer for step in plan.steps for offer in step.candidates()}
    found = [action for offer in offers if (action := find_action(offer)) is not None]
    strongest = max((EFFECTS.index(action.effects) for action in found), default=0)
    return frozenset(offer.arm for offer in offers), EFFECTS[strongest]


def unchanged(
    steps: Sequence[PlanStep], earlier: Sequence[PlanStep], *, among: Collection[str]
) -> frozenset[str]:
    """Return the steps of `among` that do the same work as the earlier step of that name, on unchanged steps only."""
    before, now = _by_id(earlier, _NOT_WORK), _by_id(steps, _NOT_WORK)
    same = {name for name in among if name in now and now[name] == before.get(name)}
    while lost := {name for name in same if not set(now[name]["depends_on"]) <= same}:
        same -= lost
    return frozenset(same)


def _by_id(steps: Iterable[PlanStep], left_out: Collection[str]) -> dict[str, dict[str, Any]]:
    return {step.id: dict(_members(step, left_out)) for step in steps}


def _members(step: PlanStep, left_out: Collection[str]) -> Iterator[tuple[str, Any]]:
    for name, value in step.to_record().items():
        if name not in left_out:
            yield name, sorted(value) if name == "depends_on" else value
