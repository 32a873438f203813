"""Checks that a plan is legal, whether a client, a model or a recipe made it, and reads its graph."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from typing import Any

from orchestrator.models.arm_capability import find_action
from orchestrator.models.errors import InvalidPlan
from orchestrator.models.plan import MAX_STEPS, Plan, PlanStep
from orchestrator.models.task_contract import EFFECTS, Attachment, Budget, Contract
from orchestrator.planner.data_flow import check_answer, check_data_flow, fitting
from orchestrator.planner.limits import PlanLimits
from orchestrator.planner.loops import items_fault
from orchestrator.planner.offers import StepGround, visible_arms
from orchestrator.planner.plan_files import AttachmentNames
from orchestrator.planner.schema_places import bounded_work
from orchestrator.planner.step_reader import PlanFaults, read_step, schemas_in
from orchestrator.planner.subplans import expand
from orchestrator.rules.check_rule import steps_named, steps_read
from orchestrator.rules.json_schema import shared_work
from orchestrator.rules.schema_check import together_faults

_MAX_NAMED_CHARACTERS = 500
_NOTHING = {"tokens": 0, "dollars": 0, "seconds": 0}
_PLAN_MEMBERS = frozenset({"steps", "result", "rationale", "mode", "provenance"})


@dataclass(frozen=True)
class PlanOrigin:
    """Who made a plan (`mode`: client, llm, rules) and why; `provenance` goes into the trace.

    A plan that is made again has `limits`: it may not use what they do not allow.
    """

    mode: str
    rationale: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    limits: PlanLimits | None = None


@bounded_work()
@shared_work()
def check_plan(
    record: Mapping[str, Any] | Sequence[Any],
    *,
    tenant: str | None = None,
    attachments: Sequence[Attachment | str] = (),
    contract: Contract | None = None,
    is_ours: bool = False,
    origin: PlanOrigin | None = None,
) -> Plan:
    """Return the plan that `record` ({"steps": [...]} or the list alone) describes, with defaults filled in.

    Its `result` names the answer: a JSON value in which references stand for outputs of steps.
    `tenant` is the one whose arms it may use, None: only those for all tenants; `attachments` are the task's files; a
    bare id can't be called by a name. With `contract` the plan must have the steps, arm and capabilities that the task
    names, fit into its budget, and have no stronger effects than it allows. A plan that `is_ours`, made by a model or a
    recipe, must also contain a check of its own result. An arm that a client's plan names is pinned, one that another
    plan names is preferred.
    Raises InvalidPlan; its details.errors names every fault found.
    """
    faults = PlanFaults()
    items = _items(record, faults, goal=contract.goal if contract else "")
    if many := together_faults(schemas_in(items)):
        raise InvalidPlan(
            f"the plan breaks a rule: {many[0]}", details={"errors": [{"field": "steps", "message": many[0]}]}
        )
    ground = _ground_of(
        items,
        tenant,
        attachments,
        contract,
        pins=not is_ours and (origin is None or origin.mode == "client"),
    )
    limits = origin.limits if origin else None
    if limits:
        ground = _limited(ground, limits)
    read = [
        read_step(item, f"steps.{index}", ground=ground, faults=faults)
        for index, item in enumerate(items[:MAX_STEPS])
    ]
    _check_graph(read, faults)
    answer = record.get("result") if isinstance(record, Mapping) else None
    placed = fitting([step if step and step.arm else None for step in read], ground, answer=answer)
    check_data_flow(placed, ground, faults, is_ours=is_ours)
    check_answer(answer, placed, ground, faults)
    steps = tuple(step for step in placed if step)
    if is_ours and not faults.found:
        _check_ours(steps, ground, faults)
    if contract and not faults.found:
        _check_contract(steps, contract, ground, faults=faults)
    if limits and not faults.found and limits.is_same(steps):
        faults.add("steps", "this is the plan whose result was rejected: change it")
    if contract and not faults.found:
        paid = limits.paid(steps) if limits else frozenset()
        for message in _shortfalls(steps, contract.budget, paid=paid, is_ours=is_ours):
            faults.add("steps", message)
    _refuse(faults)
    if origin is None:
        rationale = record.get("rationale") if isinstance(record, Mapping) else ""
        origin = PlanOrigin("client", rationale or "")
    return Plan(steps, origin.mode, origin.rationale, dict(origin.provenance), answer)


def _refuse(faults: PlanFaults) -> None:
    """Raise InvalidPlan if a fault was found."""
    if faults.found:
        first = "{field}: {message}".format(**faults.found[0])
        more = f" (and {faults.count - 1} more)" if faults.count > 1 else ""
        raise InvalidPlan(f"the plan breaks a rule: {first}{more}", details={"errors": faults.found})


@bounded_work()
@shared_work()
def check_alone(
    record: Mapping[str, Any], *, tenant: str | None, attachments: Sequence[Attachment], contract: Contract
) -> PlanStep | None:
    """Return a step of a plan of ours that is not complete yet; None if it breaks a rule that needs no other step."""
    faults = PlanFaults()
    if together_faults(schemas_in([record])):
        return None
    ground = _ground_of([record], tenant, attachments, contract, pins=False)
    read = read_step(record, "steps.0", ground=ground, faults=faults)
    placed = fitting([read if read and read.arm else None], ground)
    check_data_flow(placed, ground, faults, is_ours=True)
    return None if faults.found else placed[0]


def _ground_of(
    items: Sequence[Any],
    tenant: str | None,
    attachments: Sequence[str | Attachment],
    contract: Contract | None,
    *,
    pins: bool,
) -> StepGround:
    return StepGround(
        visible_arms(tenant, named=_arms_named(items[:MAX_STEPS])),
        tenant,
        [item.sha256 if isinstance(item, Attachment) else item for item in attachments],
        names=AttachmentNames([item for item in attachments if isinstance(item, Attachment)]),
        effects=contract.effects if contract else EFFECTS[-1],
        assigned_arm=contract.assigned_arm if contract else None,
        pins=pins,
    )


def _limited(ground: StepGround, limits: PlanLimits) -> StepGround:
    """Return the ground of a plan that is made again: a part of what the task allows."""
    ground = replace(ground, arms=limits.narrowed(ground.arms))
    if EFFECTS.index(limits.effects) >= EFFECTS.index(ground.effects):
        return ground
    return replace(ground, effects=limits.effects, bound_by="the actions of the task's first plan")


def _arms_named(items: Iterable[Any]) -> set[str]:
    named = (item.get("arm") for item in items if isinstance(item, Mapping))
    return {name for name in named if isinstance(name, str)}


def path_lengths(plan: Plan) -> dict[str, int]:
    """Return for each step the number of steps on the longest path that starts with it."""
    followers = _followers(plan)
    lengths: dict[str, int] = {}
    for name in reversed(list(_sorter(plan.steps).static_order())):
        lengths[name] = 1 + max((lengths[follower] for follower in followers[name]), default=0)
    return lengths


def descendants(plan: Plan, ids: Iterable[str]) -> set[str]:
    """Return the steps that depend on any of `ids`, directly or indirectly, without `ids` themselves."""
    followers, given = _followers(plan), set(ids)
    waiting, found = list(given), set[str]()
    while waiting:
        for name in followers[waiting.pop()]:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found - given


def unknown_steps(rule: Mapping[str, Any], steps: Sequence[PlanStep]) -> list[str]:
    """Return the steps that a check of the task names and the plan, or the result, does not have.

    The result has only the outputs of the plan's last steps, by id.
    """
    ids = [step.id for step in steps]
    inner = {name for step in steps for name in step.depends_on}
    named = steps_named(rule)
    return [name for name in steps_read(rule) if name not in ids or (name not in named and name in inner)]


def leaves(plan: Plan) -> tuple[str, ...]:
    """Return the steps that no other step depends on, in the plan's order."""
    followers = _followers(plan)
    return tuple(step.id for step in plan.steps if not followers[step.id])


def _items(record: Mapping[str, Any] | Sequence[Any], faults: PlanFaults, *, goal: str = "") -> Sequence[Any]:
    """Return the steps as they were sent, with the steps of recipes in place of sub-plans."""
    items: Any = record
    if isinstance(record, Mapping):
        for name in sorted(set(record) - _PLAN_MEMBERS):
            faults.add(
                "plan",
                f"has an unknown member {str(name)[:64]!r}: the members are {', '.join(sorted(_PLAN_MEMBERS))}",
            )
        if not isinstance(record.get("rationale") or "", str):
            faults.add("rationale", "must be a string")
        items = record.get("steps")
    if not isinstance(items, (list, tuple)) or not items:
        faults.add("steps", "must be a list of at least one step")
        return []
    steps = expand(items, faults, goal=goal)
    if len(steps) > MAX_STEPS:
        faults.add("steps", f"a plan may have at most {MAX_STEPS} steps, not {max(len(items), len(steps))}")
    return steps


def _check_graph(read: Sequence[PlanStep | None], faults: PlanFaults) -> None:
    places = {step.id: f"steps.{index}" for index, step in reversed(list(enumerate(read))) if step}
    for index, step in enumerate(read):
        if step is None:
            continue
        if places[step.id] != f"steps.{index}":
            earlier, _ = faults.sent_place(places[step.id])
            faults.add(f"steps.{index}.id", f"{step.id!r} is already the id of {earlier}")
        for member, name in _names_used(step):
            if name not in places:
                faults.add(f"steps.{index}.{member}", f"there is no step {name[:64]!r}")
    steps = [step for step in read if step]
    if many := items_fault(steps):
        faults.add("steps", many)
    try:
        _sorter(steps).prepare()
    except CycleError as cycle:
        circle = " -> ".join(reversed(cycle.args[1]))
        faults.add(f"{places[cycle.args[1][0]]}.depends_on", f"the steps depend on each other: {circle}")


def _check_ours(steps: Sequence[PlanStep], ground: StepGround, faults: PlanFaults) -> None:
    """Add the faults of rules that a model's or a recipe's plan must keep and a client's need not."""
    places = {step.id: index for index, step in enumerate(steps)}
    for index, step in enumerate(steps):
        for name in step.depends_on:
            if places[name] > index:
                faults.add(f"steps.{index}.depends_on", f"step {name!r} comes later: name earlier steps only")
    if not _is_checked(steps[-1], ground):
        faults.add(
            f"steps.{len(steps) - 1}",
            "the last step must be judge.verify, or have an acceptance criterion with a check",
        )


def _is_checked(step: PlanStep, ground: StepGround) -> bool:
    """Tell whether the judge checks a rule on the step's output: the plan's own, or one that each offer brings."""
    own = any(criterion["check"] for criterion in step.acceptance_criteria)
    return own or (step.required and all(ground.action_of(offer).met for offer in step.candidates()))


def _check_contract(
    steps: Sequence[PlanStep], contract: Contract, ground: StepGround, *, faults: PlanFaults
) -> None:
    """Add a fault for each step, capability or arm that the task names and the plan does not have."""
    for number, criterion in enumerate(contract.acceptance_criteria):
        for name in unknown_steps(criterion.check or {}, steps):
            place = f"acceptance_criteria.{number}.check"
            if any(step.id == name for step in steps):
                faults.add(place, f'the result has the last steps only; name {name!r} as its "step"')
            else:
                ids = ", ".join(step.id for step in steps)[:_MAX_NAMED_CHARACTERS]
                faults.add(place, f"there is no step {name[:64]!r} in the plan; its steps are {ids}")
    offered = {word for step in steps for word in _offered_surely(step, ground)}
    if missing := sorted(set(contract.required_capabilities) - offered):
        faults.add("required_capabilities", f"no step of the plan offers {', '.join(missing)}")
    if contract.assigned_arm and all(step.arm != contract.assigned_arm for step in steps):
        faults.add("assigned_arm", f"no step of the plan is done by arm {contract.assigned_arm}")


def _offered_surely(step: PlanStep, ground: StepGround) -> set[str]:
    """Return the capabilities that the step has whichever arm does it."""
    return set.intersection(*(set(ground.action_of(offer).capabilities) for offer in step.candidates()))


def _shortfalls(
    steps: Sequence[PlanStep],
    budget: Budget,
    *,
    paid: frozenset[str],
    is_ours: bool,
) -> Iterator[str]:
    """Yield a message for each budget that the steps' estimates exceed; the graph has no cycle.

    Seconds are those of the longest path. Those that are `paid` cost nothing.
    """
    steps = [replace(step, estimate=dict(_NOTHING)) if step.id in paid else step for step in steps]
    tokens = tokens_estimated(steps, is_ours=is_ours)
    dollars = sum(Decimal(str(step.estimate.get("dollars", 0))) for step in steps)
    for name, needed, limit in (
        ("max_tokens", tokens, budget.max_tokens),
        ("max_cost_dollars", dollars, budget.max_cost_dollars),
        ("max_time_seconds", _longest_seconds(steps), budget.max_time_seconds),
    ):
        if needed > limit:
            yield f"the steps take about {needed:,}, and {name} is {limit:,}"


def tokens_estimated(steps: Sequence[PlanStep], *, is_ours: bool) -> float:
    """Return the tokens that the steps take of the budget.

    A step without an estimate counts the fewest tokens that its action needs in a plan of ours, and none in a client's.
    """
    return sum(step.estimate.get("tokens", _least_tokens(step) if is_ours else 0) for step in steps)


def _least_tokens(step: PlanStep) -> int:
    action = find_action(step.preferred)
    return action.least_tokens if action else 0


def _longest_seconds(steps: Sequence[PlanStep]) -> float:
    known = {step.id: step for step in steps}
    ends: dict[str, float] = {}
    for name in _sorter(steps).static_order():
        begins = max((ends[source] for source in known[name].depends_on), default=0)
        ends[name] = begins + known[name].estimate.get("seconds", 0)
    return max(ends.values(), default=0)


def _names_used(step: PlanStep) -> Iterator[tuple[str, str]]:
    yield from (("depends_on", name) for name in step.depends_on)
    for number, criterion in enumerate(step.acceptance_criteria):
        for name in steps_named(criterion["check"] or {}):
            yield f"acceptance_criteria.{number}.check", name


def _sorter(steps: Iterable[PlanStep]) -> TopologicalSorter[str]:
    known = {step.id: step for step in steps}
    return TopologicalSorter(
        {name: [source for source in step.depends_on if source in known] for name, step in known.items()}
    )


def _followers(plan: Plan) -> dict[str, list[str]]:
    followers: dict[str, list[str]] = {step.id: [] for step in plan.steps}
    for step in plan.steps:
        for name in step.depends_on:
            followers[name].append(step.id)
    return followers
