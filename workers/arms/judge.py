"""The judge: decides whether a round meets its contract; as a plan's step, checks values and citations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.models.errors import InvalidStepInput, VerificationFailed
from orchestrator.models.execution_state import StepState
from orchestrator.models.plan import PlanStep
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import CheckedBy, CriterionFinding, Decision, Verdict
from orchestrator.models.wording import count_of
from orchestrator.rules.check_rule import steps_read, validate_rule
from workers.arms.base import ActionArm, Arm, Assignment, Model, answer
from workers.arms.judge_answer import Answer, chosen_answer, written_answer
from workers.arms.judge_llm import judged_by_model
from workers.arms.judge_rules import (
    ALL_FINISHED,
    RoundView,
    check_citations,
    check_values,
    findings_of,
    responsible_steps,
)
from workers.arms.material import given_text
from workers.arms.sources import read_sources
from workers.sandbox.selection import SandboxStatus

__all__ = ["RoundView", "judge_round", "make"]

_MAX_REASON_CHARACTERS = 200

NOTHING_TO_CHECK: Mapping[str, str] = {
    "reason": "nothing_to_check",
    "message": "nothing was given to check",
}


def make(_sandbox: SandboxStatus) -> Arm:
    """Return the judge as an arm that plans can use."""
    return ActionArm({"verify": verify})


def judge_round(
    view: RoundView, model: Model | None = None, *, on_writing: Callable[[], None] = lambda: None
) -> Verdict:
    """Decide a round by rules, and by a model for criteria without a rule; then give the answer.

    A criterion that neither can check is not_checked, and never counts as passed. Calls `on_writing` before a model
    writes the answer of a plan that a model made.
    """
    findings = tuple(findings_of(view))
    if model is not None:
        findings = judged_by_model(view, findings, model)
    required = [finding for finding in findings if finding.required]
    if any(finding.met is False for finding in required):
        decision = Decision.FAILED
    elif any(finding.met is None for finding in required):
        decision = Decision.INCONCLUSIVE
    else:
        decision = Decision.PASSED
    summary = _report(view, decision, findings)
    answer = chosen_answer(view)
    if answer is None and model is not None and view.plan.mode == "llm" and decision is not Decision.FAILED:
        on_writing()
        answer = written_answer(view, model)
    text = "\n".join([*_fallback(view), answer.text]) if answer else summary
    answer = answer or Answer(summary, "summary")
    return Verdict(
        decision=decision,
        coverage=_coverage(required),
        confidence=_confidence(decision, required),
        findings=findings,
        faulty=_faulty(view, findings),
        output=text,
        output_value=view.recorded_result() if answer.value is None else answer.value,
        summary=summary,
        answered_by=answer.source,
        warnings=(*answer.warnings, *_warnings(view, findings)),
    )


def verify(assignment: Assignment) -> StepResult:
    """Check given values and citations; the output reports when there was nothing to check, like no citation at all.

    Citations of a text that a writer was given are looked up in `value`.

    With `required`, raises VerificationFailed unless all checks pass.
    """
    inputs = assignment.inputs
    value = inputs.get("values", inputs.get("value"))
    checks = [*inputs.get("checks", ()), *([{"check": inputs["check"]}] if "check" in inputs else [])]
    for item in checks:
        if wrong := validate_rule(item["check"]):
            raise InvalidStepInput(f"a check of step {assignment.name} can't be used: {wrong[0]}")
    if not checks and "citations" not in inputs:
        raise InvalidStepInput(f"step {assignment.name} has nothing to check: give it checks or citations")
    findings = check_values(value, checks)
    citations = list(_flat(inputs.get("citations", [])))
    if citations:
        sources, _ = read_sources(assignment)
        if "value" in inputs:
            sources.append(given_text(inputs["value"]))
        findings += check_citations(citations, {source.name: source.lines() for source in sources})
    failed = [finding for finding in findings if not finding["met"]]
    passed = bool(findings) and not failed
    summary = f"{len(findings) - len(failed)} of {count_of(len(findings), 'check')} held"
    if not findings:
        summary = NOTHING_TO_CHECK["message"]
    if failed:
        summary += "; not: " + "; ".join(
            f"{finding['text']} ({finding['explanation']})" for finding in failed[:5]
        )
    if inputs.get("required") and not passed:
        raise VerificationFailed(summary, details={"findings": findings[:50]})
    output = {
        "summary": summary,
        "passed": passed,
        "checked": len(findings),
        "failed": len(failed),
        "findings": findings,
        "citations": [
            citation
            for citation, finding in zip(citations, findings[len(checks) :], strict=True)
            if finding["met"]
        ],
        "not_checked": None if findings else dict(NOTHING_TO_CHECK),
    }
    return answer(assignment, output, evidence=[{"checks": len(findings)}])


def _flat(citations: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield citations one by one; a list among them is usually the output of an earlier step."""
    for citation in citations:
        yield from citation if isinstance(citation, list) else [citation]


def _coverage(required: Sequence[CriterionFinding]) -> float:
    """Return the share of the criteria that was checked; without criteria, whether all steps finished counts alone."""
    asked = _asked(required) or required
    return round(sum(finding.checked_by is not CheckedBy.NOT_CHECKED for finding in asked) / len(asked), 4)


def _confidence(decision: Decision, required: Sequence[CriterionFinding]) -> float | None:
    """Return the confidence that the result is right; None when it was not measured.

    A model's verdict is no measurement: it comes without a probability.
    """
    if decision is Decision.FAILED:
        return 0.0
    asked = _asked(required)
    return 1.0 if asked and all(finding.checked_by is CheckedBy.RULE for finding in asked) else None


def _asked(findings: Sequence[CriterionFinding]) -> list[CriterionFinding]:
    return [finding for finding in findings if finding.criterion != ALL_FINISHED]


def _faulty(view: RoundView, findings: tuple[CriterionFinding, ...]) -> dict[str, str]:
    feedback: dict[str, list[str]] = {}
    for step in view.plan.steps:
        result = view.results.get(step.id)
        if view.states.get(step.id) is StepState.FAILED and not step.optional:
            error = (result.error if result else None) or {"code": "failed", "message": "no result"}
            feedback.setdefault(step.id, []).append(f"failed with {error['code']}: {error['message']}")
    rules = {criterion.text: criterion.check for criterion in view.contract.acceptance_criteria}
    for finding in findings:
        if finding.required and finding.met is False and finding.criterion != ALL_FINISHED:
            for name in responsible_steps(finding, rules.get(finding.criterion), view.plan):
                if view.is_done(name):
                    line = f"not met: {finding.criterion} ({finding.explanation})"
                    feedback.setdefault(name, []).append(line)
    return {name: "\n".join(lines) for name, lines in feedback.items()}


def _report(view: RoundView, decision: Decision, findings: tuple[CriterionFinding, ...]) -> str:
    required = [finding for finding in findings if finding.required]
    held = sum(finding.met is True for finding in required)
    lines = [*_fallback(view), f"{decision.capitalize()}: {held} of {count_of(len(required), 'check')} held."]
    for step in view.plan.steps:
        if view.is_done(step.id) or view.is_skipped(step.id):
            lines.append(f"[{step.id}] {_summary(view.results[step.id].output)}")
        else:
            lines.append(f"[{step.id}] not done: it is {view.states.get(step.id, 'unknown')}")
    lines += [
        f"Not met: {finding.criterion}: {finding.explanation}" for finding in required if finding.met is False
    ]
    return "\n".join(lines)


def _fallback(view: RoundView) -> Iterator[str]:
    """Yield a sentence about a recipe that replaced a model's plan."""
    provenance = view.plan.provenance
    if code := provenance.get("model_failed"):
        yield f"No model gave a plan ({code}): this is the result of the recipe {provenance['recipe']}."


def _summary(output: Any) -> str:
    return str(output["summary"]) if isinstance(output, Mapping) and "summary" in output else "done"


def _warnings(view: RoundView, findings: tuple[CriterionFinding, ...]) -> Iterator[str]:
    yield from _fallback(view)
    for finding in findings:
        if not finding.required and finding.met is False:
            yield f"not met, and not required: {finding.criterion} ({finding.explanation})"
        if finding.required and finding.checked_by is CheckedBy.NOT_CHECKED:
            yield f"not checked: {finding.criterion} ({finding.explanation})"
    for step in view.plan.steps:
        if step.optional and not view.is_done(step.id) and not view.is_skipped(step.id):
            yield f"optional step {step.id} did not finish; its criteria were not checked"
        elif view.is_done(step.id):
            yield from (f"{step.id}: {warning}" for warning in view.results[step.id].warnings)
    yield from _unproved(view, findings)


def _unproved(view: RoundView, findings: Sequence[CriterionFinding]) -> Iterator[str]:
    """Yield a warning for each text that its arm calls unproved, unless it met a criterion on what it says."""
    outputs = view.outputs()
    for step in view.plan.steps:
        output = outputs.get(step.id)
        if not isinstance(output, Mapping) or output.get("unproved") is not True:
            continue
        if not any(_reads_text(finding, step, view) for finding in findings if finding.met):
            yield f"{step.id}: unproved: {str(output.get('unproved_reason', ''))[:_MAX_REASON_CHARACTERS]}"


def _reads_text(finding: CriterionFinding, step: PlanStep, view: RoundView) -> bool:
    """Tell whether a finding is about the text or the label of a step: its length, for one, is not."""
    if finding.checked_by is CheckedBy.LLM:
        return any(item.get("step") == step.id for item in finding.evidence)
    own = ((one["text"], one["check"]) for one in step.acceptance_criteria)
    asked = ((one.text, one.check) for one in view.contract.acceptance_criteria)
    rules = [rule for text, rule in (own if finding.step else asked) if text == finding.criterion and rule]
    return any(
        step.id in steps_read(rule, own=finding.step)
        and not {"text", "label"}.isdisjoint(str(rule.get("pointer", "")).split("/"))
        for rule in rules
        if finding.step in (None, step.id)
    )
