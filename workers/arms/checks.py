"""The judge's rules: one finding a criterion, and what stands at the places that citations name."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.models.arm_capability import ARMS, FORGEABLE
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Plan, PlanStep
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import CheckedBy, CriterionFinding
from orchestrator.models.wording import count_of
from orchestrator.planner.check import leaves, unknown_steps
from orchestrator.rules.check_rule import CheckContext, check, check_schema, steps_read
from orchestrator.rules.json_pointer import follow

ALL_FINISHED = "Every step of the plan finished"
FITS_SCHEMA = "The result fits the output schema"


@dataclass(frozen=True)
class RoundView:
    """A round as the judge sees it: what was asked, what was planned, what every step of the plan came to.

    `stowed` holds the outputs to which results only point.
    """

    contract: Contract
    plan: Plan
    results: Mapping[str, StepResult]
    states: Mapping[str, StepState]
    round: int
    stowed: Mapping[str, Any] = field(default_factory=dict)

    def is_done(self, step: str) -> bool:
        """Tell whether the step ended well."""
        return self.states.get(step) is StepState.DONE and step in self.results

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the steps that are done, by step."""
        return self.recorded() | {name: self.stowed[name] for name in self.stowed if self.is_done(name)}

    def recorded(self) -> dict[str, Any]:
        """Return what the rows hold of the outputs: of large ones a pointer."""
        return {step.id: self.results[step.id].output for step in self.plan.steps if self.is_done(step.id)}

    def result(self) -> dict[str, Any]:
        """Return the task's result: the outputs of the plan's last steps, by step."""
        return self._last(self.outputs())

    def recorded_result(self) -> dict[str, Any]:
        """Return the task's result as it is kept: with pointers in place of large outputs."""
        return self._last(self.recorded())

    def _last(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: outputs[name] for name in leaves(self.plan) if name in outputs}


def findings_of(view: RoundView) -> Iterator[CriterionFinding]:
    """Yield what is found, each once: did all finish, the output schema, the contract's and each step's criteria.

    A step that is done also has the criteria of its action.
    """
    yield _finished(view)
    outputs, result = view.outputs(), view.result()
    ground = CheckContext(outputs, view.states, result)
    if view.contract.output_schema is not None:
        outcome = check_schema(view.contract.output_schema, result)
        yield CriterionFinding(
            FITS_SCHEMA, outcome.met, CheckedBy.RULE, outcome.explanation, evidence=outcome.evidence
        )
    told = _Told()
    for criterion in view.contract.acceptance_criteria:
        if told.is_new(criterion.text, criterion.check):
            yield _finding(criterion.text, criterion.check, ground, view)
    for step in view.plan.steps:
        yield from _findings_of_step(step, view, CheckContext(outputs, view.states, result, step.id), told)


def blamed(finding: CriterionFinding, rule: Mapping[str, Any] | None, plan: Plan) -> tuple[str, ...]:
    """Return the steps that a failed finding is the fault of: those that it reads, else the last ones."""
    named = [finding.step] if finding.step else list(steps_read(rule or {}))
    known = {step.id for step in plan.steps}
    return tuple(name for name in named if name in known) or leaves(plan)


def check_values(value: Any, checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answer checks {text, check} whose pointers lead into `value`."""
    answers = []
    for item in checks:
        outcome = check(item["check"], CheckContext({}, result=value))
        text = item.get("text") or "the value is as asked"
        answers.append(
            _answer(text, met=outcome.met, explanation=outcome.explanation, evidence=outcome.evidence)
        )
    return answers


def check_citations(
    citations: Iterable[Mapping[str, Any]], lines: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Answer for each citation {file, line, quote?} whether there is such a place, and the quote verbatim there.

    `lines` are the sources' lines by file; a quote may be a part of its line, or of several from there on.
    """
    for citation in citations:
        file, line, quote = citation["file"], citation["line"], citation.get("quote")
        evidence = [{"file": file, "line": line}]
        text = f"{file}:{line} is there" if quote is None else f"{file}:{line} is quoted verbatim"
        objection = _objection(lines.get(file), file, line, quote)
        told = objection or ("it is there" if quote is None else "the quote stands there")
        yield _answer(text, met=objection is None, explanation=told, evidence=evidence)


def _objection(lines: Sequence[str] | None, file: str, line: int, quote: str | None) -> str | None:
    if lines is None:
        return f"there is no file {file}"
    if line > len(lines):
        return f"{file} has {len(lines)} lines"
    if quote is not None and not quote.strip():
        return "the quote says nothing"
    if quote is not None and quote not in "\n".join(lines[line - 1 : line + quote.count("\n")]):
        return "the quote does not stand there"
    return None


def _answer(text: str, *, met: bool, explanation: str, evidence: list[dict[str, Any]]) -> dict[str, Any]:
    return {"text": text, "met": met, "explanation": explanation, "evidence": evidence}


def _finished(view: RoundView) -> CriterionFinding:
    undone = [step for step in view.plan.steps if not view.is_done(step.id)]
    needed = [f"{step.id} {_end_of(step.id, view)}" for step in undone if not step.optional]
    evidence = [
        {"step": step.id, "state": str(view.states.get(step.id, "unknown"))} for step in view.plan.steps
    ]
    total = len(view.plan.steps)
    told = "; ".join(needed) or f"{total - len(undone)} of {count_of(total, 'step')} done"
    return CriterionFinding(ALL_FINISHED, not needed, CheckedBy.RULE, told, evidence=evidence)


def _end_of(step: str, view: RoundView) -> str:
    result = view.results.get(step)
    if result is not None and result.error:
        return f"failed with {result.error['code']}: {result.error['message']}"
    return f"is {view.states.get(step, 'unknown')}"


class _Told:
    """Remembers which criteria were told, so that each is told once."""

    def __init__(self) -> None:
        self._criteria = set[tuple[str, str]]()
        self._rules = set[str]()

    def is_new(self, text: str, rule: Mapping[str, Any] | None, *, step: str | None = None) -> bool:
        """Note a criterion; tell whether it is the first one with this text and this rule."""
        canonical = _canonical(rule, step)
        if (text, canonical) in self._criteria:
            return False
        self._criteria.add((text, canonical))
        self._rules.add(canonical)
        return True

    def has_rule(self, rule: Mapping[str, Any], *, step: str) -> bool:
        """Tell whether the rule was told, under whatever text."""
        return _canonical(rule, step) in self._rules


def _canonical(rule: Mapping[str, Any] | None, step: str | None) -> str:
    """Return a rule as text, with the steps of its places named; of a criterion of words its step."""
    if rule is None or step is None:
        return json.dumps([rule, step if rule is None else None], sort_keys=True)
    places: dict[str, Any] = {"step": step, **rule}
    if isinstance(rule.get("same_as"), Mapping):
        places["same_as"] = {"step": step, **rule["same_as"]}
    return json.dumps([places, None], sort_keys=True)


def _findings_of_step(
    step: PlanStep, view: RoundView, ground: CheckContext, told: _Told
) -> Iterator[CriterionFinding]:
    for criterion in step.acceptance_criteria:
        text, rule = criterion["text"], criterion["check"]
        if not told.is_new(text, rule, step=step.id):
            continue
        if view.is_done(step.id):
            finding = _finding(text, rule, ground, view)
            yield replace(finding, required=step.required or finding.reason is None)
        elif not step.optional:
            yield CriterionFinding(
                text, None, CheckedBy.NOT_CHECKED, f"step {step.id} did not finish", step.id
            )
    if view.is_done(step.id):
        for own in ARMS[step.arm].actions[step.action].met:
            if not told.has_rule(own["check"], step=step.id):
                finding = _finding(own["text"], own["check"], ground, view)
                yield replace(finding, required=step.required)


def _finding(
    text: str, rule: Mapping[str, Any] | None, ground: CheckContext, view: RoundView
) -> CriterionFinding:
    if rule is None:
        told = "it has no machine check, and no model is configured to judge its words"
        return CriterionFinding(text, None, CheckedBy.NOT_CHECKED, told, ground.step)
    if objection := _uncheckable(rule, ground, view):
        reason, told = objection
        return CriterionFinding(text, None, CheckedBy.NOT_CHECKED, told, ground.step, reason=reason)
    outcome = check(rule, ground)
    told = (
        f"{outcome.explanation} ({FORGEABLE})" if _is_forgeable(rule, ground, view) else outcome.explanation
    )
    return CriterionFinding(text, outcome.met, CheckedBy.RULE, told, ground.step, outcome.evidence)


def _is_forgeable(rule: Mapping[str, Any], ground: CheckContext, view: RoundView) -> bool:
    """Tell whether a rule reads what the code under test could have written itself."""
    read = steps_read(rule, own=ground.step)
    return any(
        step.id in read and not ARMS[step.arm].actions[step.action].report_trusted for step in view.plan.steps
    )


def _uncheckable(rule: Mapping[str, Any], ground: CheckContext, view: RoundView) -> tuple[str, str] | None:
    """Return why a rule says nothing: a reason's code, and words."""
    if ground.step is None and (unknown := unknown_steps(rule, view.plan.steps)):
        return "unknown_step", f"the plan has no such step: {', '.join(unknown)}"
    for step in view.plan.steps:
        if step.id in steps_read(rule, own=ground.step) and step.id in ground.outputs:
            said = _not_checked(step, ground.outputs[step.id])
            if said:
                return str(said["reason"]), f"{said['reason']}: {said['message']}"
    return None


def _not_checked(step: PlanStep, output: Any) -> Mapping[str, Any] | None:
    """Return why a step's output shows nothing, if it says so; a release before ours did not."""
    pointer = ARMS[step.arm].actions[step.action].unchecked
    try:
        said = follow(output, pointer) if pointer else None
    except LookupError:
        return None
    return said if isinstance(said, Mapping) else None
