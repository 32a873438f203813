"""The judge's rules: one finding for each criterion, and whether citations match their sources."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.models.arm_capability import FORGEABLE, Action, find_action
from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import Offer, Plan, PlanStep
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import CheckedBy, CriterionFinding
from orchestrator.models.wording import count_of
from orchestrator.planner.check import leaves, unknown_steps
from orchestrator.planner.references import resolve
from orchestrator.rules.check_rule import CheckContext, check, check_schema, steps_read

ALL_FINISHED = "Every step of the plan finished"
NO_ITEM_FAILS = "No item fails"
FITS_SCHEMA = "The result fits the output schema"
_MAX_SHOWN_ITEMS = 10


@dataclass(frozen=True)
class RoundView:
    """What the judge gets of a round: the contract, the plan, and the state and result of each step.

    `large_outputs` are those to which results have only a pointer, by step. `offers` are the arm and the action that
    the router chose for each step.
    """

    contract: Contract
    plan: Plan
    results: Mapping[str, StepResult]
    states: Mapping[str, StepState]
    round: int
    large_outputs: Mapping[str, Any] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)

    def action_of(self, step: PlanStep) -> Action | None:
        """Return the action that did the step; None if its arm is gone since."""
        return find_action(self.offers.get(step.id, step.preferred))

    def is_done(self, step: str) -> bool:
        """Return whether the step succeeded."""
        return self.states.get(step) is StepState.DONE and step in self.results

    def is_skipped(self, step: str) -> bool:
        """Return whether the step was skipped because the plan says so: that is no failure."""
        return self.states.get(step) is StepState.SKIPPED and step in self.results

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the steps that are done, by step."""
        return self.recorded() | {
            name: self.large_outputs[name] for name in self.large_outputs if self.is_done(name)
        }

    def recorded(self) -> dict[str, Any]:
        """Return the outputs as the rows hold them: pointers in place of large ones."""
        return {step.id: self.results[step.id].output for step in self.plan.steps if self.is_done(step.id)}

    def result(self) -> dict[str, Any]:
        """Return the task's result: the outputs of the plan's last steps, by step."""
        return self._last(self.outputs())

    def recorded_result(self) -> dict[str, Any]:
        """Return the task's result as it is stored: pointers in place of large outputs."""
        return self._last(self.recorded())

    def named_answer(self, otherwise: Any) -> Any:
        """Return the value that the plan names as its result, or `otherwise` if it names none that is there."""
        if self.plan.result is None:
            return otherwise
        try:
            return resolve(self.plan.result, self.outputs())
        except InvalidStepInput:
            return otherwise

    def _last(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: outputs[name] for name in leaves(self.plan) if name in outputs}


def findings_of(view: RoundView) -> Iterator[CriterionFinding]:
    """Yield one finding each for: all steps finished, the output schema, the contract's and each step's criteria.

    A step that is done also has the criteria of its action. Equal criteria are reported once.
    """
    yield _finished(view)
    outputs, result = view.outputs(), view.result()
    ground = CheckContext(outputs, view.states, result)
    if view.contract.output_schema is not None:
        outcome = check_schema(view.contract.output_schema, view.named_answer(result))
        yield CriterionFinding(
            FITS_SCHEMA, outcome.met, CheckedBy.RULE, outcome.explanation, evidence=outcome.evidence
        )
    reported = _Reported()
    for criterion in view.contract.acceptance_criteria:
        if reported.is_new(criterion.text, criterion.check):
            yield _finding(criterion.text, criterion.check, ground, view)
    for step in view.plan.steps:
        yield from _findings_of_step(
            step, view, CheckContext(outputs, view.states, result, step.id), reported
        )


def responsible_steps(
    finding: CriterionFinding, rule: Mapping[str, Any] | None, plan: Plan
) -> tuple[str, ...]:
    """Return the steps that caused a failed finding: those that its rule reads, else the plan's last ones."""
    named = [finding.step] if finding.step else list(steps_read(rule or {}))
    known = {step.id for step in plan.steps}
    return tuple(name for name in named if name in known) or leaves(plan)


def check_values(value: Any, checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a finding for each check {text, check}; their pointers lead into `value`."""
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
    """Yield for each citation {file, line, quote?} whether the place exists and has the quote verbatim.

    `lines` are the sources' lines by file. A quote may be part of its line, or span several lines from there.
    """
    for citation in citations:
        file, line, quote = citation["file"], citation["line"], citation.get("quote")
        evidence = [{"file": file, "line": line}]
        text = f"{file}:{line} is there" if quote is None else f"{file}:{line} is quoted verbatim"
        objection = _objection(lines.get(file), file, line, quote)
        explanation = objection or ("it is there" if quote is None else "the quote is there")
        yield _answer(text, met=objection is None, explanation=explanation, evidence=evidence)


def _objection(lines: Sequence[str] | None, file: str, line: int, quote: str | None) -> str | None:
    if lines is None:
        return f"there is no file {file}"
    if line > len(lines):
        return f"{file} has {len(lines)} lines"
    if quote is not None and not quote.strip():
        return "the quote is empty"
    if quote is not None and quote not in "\n".join(lines[line - 1 : line + quote.count("\n")]):
        return "the quote is not there"
    return None


def _answer(text: str, *, met: bool, explanation: str, evidence: list[dict[str, Any]]) -> dict[str, Any]:
    return {"text": text, "met": met, "explanation": explanation, "evidence": evidence}


def _finished(view: RoundView) -> CriterionFinding:
    skipped = sum(view.is_skipped(step.id) for step in view.plan.steps)
    undone = [step for step in view.plan.steps if not (view.is_done(step.id) or view.is_skipped(step.id))]
    needed = [f"{step.id} {_end_of(step.id, view)}" for step in undone if not step.optional]
    evidence = [
        {"step": step.id, "state": str(view.states.get(step.id, "unknown"))} for step in view.plan.steps
    ]
    total = len(view.plan.steps)
    held = f"{total - len(undone) - skipped} of {count_of(total, 'step')} done"
    explanation = "; ".join(needed) or held + (f", {skipped} skipped" if skipped else "")
    return CriterionFinding(ALL_FINISHED, not needed, CheckedBy.RULE, explanation, evidence=evidence)


def _end_of(step: str, view: RoundView) -> str:
    result = view.results.get(step)
    if result is not None and result.error:
        return f"failed with {result.error['code']}: {result.error['message']}"
    return f"is {view.states.get(step, 'unknown')}"


class _Reported:
    """The criteria that were reported, so that each is reported once."""

    def __init__(self) -> None:
        self._criteria = set[tuple[str, str]]()
        self._rules = set[str]()

    def is_new(self, text: str, rule: Mapping[str, Any] | None, *, step: str | None = None) -> bool:
        """Add a criterion; return whether it is the first with this text and this rule."""
        canonical = _canonical(rule, step)
        if (text, canonical) in self._criteria:
            return False
        self._criteria.add((text, canonical))
        self._rules.add(canonical)
        return True

    def has_rule(self, rule: Mapping[str, Any], *, step: str) -> bool:
        """Return whether the rule was reported under any text."""
        return _canonical(rule, step) in self._rules


def _canonical(rule: Mapping[str, Any] | None, step: str | None) -> str:
    """Return a rule as text with the step of each place filled in; for a criterion without a rule, its step."""
    if rule is None or step is None:
        return json.dumps([rule, step if rule is None else None], sort_keys=True)
    places: dict[str, Any] = {"step": step, **rule}
    if isinstance(rule.get("same_as"), Mapping):
        places["same_as"] = {"step": step, **rule["same_as"]}
    return json.dumps([places, None], sort_keys=True)


def _findings_of_step(
    step: PlanStep, view: RoundView, ground: CheckContext, reported: _Reported
) -> Iterator[CriterionFinding]:
    for criterion in step.acceptance_criteria:
        text, rule = criterion["text"], criterion["check"]
        if not reported.is_new(text, rule, step=step.id):
            continue
        if view.is_done(step.id):
            finding = _finding(text, rule, ground, view)
            yield replace(finding, required=step.required or finding.reason is None)
        elif not step.optional and not view.is_skipped(step.id):
            yield CriterionFinding(
                text, None, CheckedBy.NOT_CHECKED, f"step {step.id} did not finish", step.id
            )
    if view.is_done(step.id) and step.for_each is not None:
        yield from _findings_of_items(step, view, ground)
    elif view.is_done(step.id):
        action = view.action_of(step)
        for own in action.met if action else ():
            if not reported.has_rule(own["check"], step=step.id):
                finding = _finding(own["text"], own["check"], ground, view)
                yield replace(finding, required=step.required)


def _findings_of_items(step: PlanStep, view: RoundView, ground: CheckContext) -> Iterator[CriterionFinding]:
    """Yield whether no item failed, and whether those that are done meet the criteria of their action."""
    is_required = step.required and not step.optional
    yield replace(
        _finding(NO_ITEM_FAILS, {"pointer": "/failed", "equals": 0}, ground, view), required=is_required
    )
    action = view.action_of(step)
    whole = ground.outputs[step.id]
    # of an output whose file was deleted only a pointer is left
    outputs = whole.get("items", ()) if isinstance(whole, Mapping) else ()
    if action is not None:
        for own in action.met:
            yield replace(_finding_of_items(own, step, list(outputs), action), required=step.required)


def _finding_of_items(
    criterion: Mapping[str, Any], step: PlanStep, outputs: Sequence[Any], action: Action
) -> CriterionFinding:
    """Return whether the outputs of the items that are done meet a criterion of their action."""
    done = {index: output for index, output in enumerate(outputs) if output is not None}
    unproved = [index for index, output in done.items() if action.why_not_checked(output)]
    wrong = [
        index
        for index, output in done.items()
        if index not in unproved
        and not check(criterion["check"], CheckContext({step.id: output}, step=step.id)).met
    ]
    if wrong:
        why = f"not by the items {_listed(wrong)}"
        return CriterionFinding(criterion["text"], False, CheckedBy.RULE, why, step.id, [{"items": wrong}])
    if unproved:
        reason = action.why_not_checked(done[unproved[0]]) or {}
        why = f"the items {_listed(unproved)} prove nothing: {reason.get('message', 'nothing was checked')}"
        return CriterionFinding(
            criterion["text"], None, CheckedBy.NOT_CHECKED, why, step.id, reason=str(reason.get("reason"))
        )
    return CriterionFinding(
        criterion["text"],
        True,
        CheckedBy.RULE,
        f"by all {count_of(len(done), 'item')} that are done",
        step.id,
    )


def _listed(indexes: Sequence[int]) -> str:
    shown = ", ".join(map(str, indexes[:_MAX_SHOWN_ITEMS]))
    return shown + (", ..." if indexes[_MAX_SHOWN_ITEMS:] else "")


def _finding(
    text: str, rule: Mapping[str, Any] | None, ground: CheckContext, view: RoundView
) -> CriterionFinding:
    if rule is None:
        why = "it has no machine check, and no model is configured to judge it"
        return CriterionFinding(text, None, CheckedBy.NOT_CHECKED, why, ground.step)
    if objection := _uncheckable(rule, ground, view):
        reason, why = objection
        return CriterionFinding(text, None, CheckedBy.NOT_CHECKED, why, ground.step, reason=reason)
    outcome = check(rule, ground)
    explanation = (
        f"{outcome.explanation} ({FORGEABLE})" if _is_forgeable(rule, ground, view) else outcome.explanation
    )
    return CriterionFinding(text, outcome.met, CheckedBy.RULE, explanation, ground.step, outcome.evidence)


def _is_forgeable(rule: Mapping[str, Any], ground: CheckContext, view: RoundView) -> bool:
    """Return whether a rule reads a report that the code under test could have forged."""
    read = steps_read(rule, own=ground.step)
    actions = [view.action_of(step) for step in view.plan.steps if step.id in read]
    return any(action is not None and not action.report_trusted for action in actions)


def _uncheckable(rule: Mapping[str, Any], ground: CheckContext, view: RoundView) -> tuple[str, str] | None:
    """Return why a rule can't be checked: a code and an explanation."""
    if ground.step is None and (unknown := unknown_steps(rule, view.plan.steps)):
        return "unknown_step", f"the plan has no such step: {', '.join(unknown)}"
    for step in view.plan.steps:
        if step.id in steps_read(rule, own=ground.step) and step.id in ground.outputs:
            action = view.action_of(step)
            why = action.why_not_checked(ground.outputs[step.id]) if action else None
            if why:
                return str(why["reason"]), f"{why['reason']}: {why['message']}"
    return None
