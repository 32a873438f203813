"""Adds to a plan the approvals that its actions and the operator's policy demand; does no I/O."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from orchestrator.models.approval import Gate
from orchestrator.models.approval_policy import MODEL_MODE, AskRule
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.plan import Plan, PlanStep


def add_gates(
    plan: Plan,
    routes: Mapping[str, Mapping[str, Any]],
    *,
    policy: Sequence[AskRule],
    tenant: str,
    always: Collection[str] = (),
) -> Plan:
    """Return the plan, in which each step that must ask has a gate.

    An action that says `ask` always asks, one that says `never` only when the plan does; the policy binds an arm that
    a tenant registered, whatever its manifest says. Where asking is demanded, no
    plan can let the step run without a person: `on_expiry` is not `approve`, and of a model's own gate only the
    question counts. The actions of `always`, as `arm.action`, ask at least with the default gate.
    """
    steps = tuple(
        _with_gate(step, routes[step.id], mode=plan.mode, policy=policy, tenant=tenant) for step in plan.steps
    )
    return replace(plan, steps=tuple(_always(step, routes[step.id], always) for step in steps))


def without_asking_for_writes(plan: Plan, routes: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return the plan of a replay, whose steps that write ask nobody, because they change nothing."""

    def writes(step: PlanStep) -> bool:
        route = routes[step.id]
        return ARMS[route["arm"]].actions[route["action"]].effects == "write"

    steps = tuple(replace(step, approval=None) if writes(step) else step for step in plan.steps)
    return replace(plan, steps=steps)


def _always(step: PlanStep, route: Mapping[str, Any], always: Collection[str]) -> PlanStep:
    name = f"{route['arm']}.{route['action']}"
    if step.approval is not None or name not in always or ARMS[route["arm"]].kind == "human":
        return step
    return replace(step, approval=Gate(f"May {name} run as step {step.id}?").to_record())


def _with_gate(
    step: PlanStep, route: Mapping[str, Any], *, mode: str, policy: Sequence[AskRule], tenant: str
) -> PlanStep:
    arm = route["arm"]
    if ARMS[arm].kind == "human":
        return step
    action = ARMS[arm].actions[route["action"]]
    rule = _demanded(action, arm=arm, mode=mode, policy=policy, tenant=tenant)
    if rule is None:
        return step
    gate = Gate(f"May {arm}.{action.name} run as step {step.id}?", rule.by, rule.expires_in, rule.on_expiry)
    if step.approval is not None:
        own = Gate.from_record(step.approval)
        gate = replace(gate, ask=own.ask) if mode == MODEL_MODE else _stricter(own, rule)
    return replace(step, approval={**asdict(gate), "allow": list(gate.allow)})


def _demanded(
    action: Action, *, arm: str, mode: str, policy: Sequence[AskRule], tenant: str
) -> AskRule | None:
    if action.approval == "never" and ARMS[arm].tenant is None:
        return None
    found = next((rule for rule in policy if rule.matches(action, arm=arm, mode=mode, tenant=tenant)), None)
    return found or (AskRule() if action.approval == "ask" else None)


def _stricter(own: Gate, rule: AskRule) -> Gate:
    on_expiry = rule.on_expiry if own.on_expiry == "approve" else own.on_expiry
    return replace(own, by=rule.by or own.by, on_expiry=on_expiry)
