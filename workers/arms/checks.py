"""The judge's rules: one finding a criterion, and what stands at the places that citations name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.check_rule import Ground, check, check_schema, steps_named
from orchestrator.execution_state import CheckedBy, Finding, Plan, PlanStep, StepResult, StepState
from orchestrator.planner.check import leaves
from orchestrator.task_contract import Contract

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


def findings_of(view: RoundView) -> Iterator[Finding]:
    """Yield what is found: did all finish, the output schema, the contract's and each step's criteria."""
    yield _finished(view)
    outputs, result = view.outputs(), view.result()
    ground = Ground(outputs, view.states, result)
    if view.contract.output_schema is not None:
        outcome = check_schema(view.contract.output_schema, result)
        yield Finding(
            FITS_SCHEMA, outcome.met, CheckedBy.RULE, outcome.explanation, evidence=outcome.evidence
        )
    for criterion in view.contract.acceptance_criteria:
        yield _finding(criterion.text, criterion.check, ground)
    for step in view.plan.steps:
        yield from _findings_of_step(step, view, Ground(outputs, view.states, result, step.id))


def blamed(finding: Finding, rule: Mapping[str, Any] | None, plan: Plan) -> tuple[str, ...]:
    """Return the steps that a failed finding is the fault of: those that it names, else the last ones."""
    named = [finding.step] if finding.step else list(steps_named(rule or {}))
    known = {step.id for step in plan.steps}
    return tuple(name for name in named if name in known) or leaves(plan)


def check_values(value: Any, checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answer checks {text, check} whose pointers lead into `value`."""
    answers = []
    for item in checks:
        outcome = check(item["check"], Ground({}, result=value))
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


def _finished(view: RoundView) -> Finding:
    undone = [step for step in view.plan.steps if not view.is_done(step.id)]
    needed = [f"{step.id} {_end_of(step.id, view)}" for step in undone if not step.optional]
    evidence = [
        {"step": step.id, "state": str(view.states.get(step.id, "unknown"))} for step in view.plan.steps
    ]
    told = (
        "; ".join(needed) or f"{len(view.plan.steps) - len(undone)} of {len(view.plan.steps)} steps are done"
    )
    return Finding(ALL_FINISHED, not needed, CheckedBy.RULE, told, evidence=evidence)


def _end_of(step: str, view: RoundView) -> str:
    result = view.results.get(step)
    if result is not None and result.error:
        return f"failed with {result.error['code']}: {result.error['message']}"
    return f"is {view.states.get(step, 'unknown')}"


def _findings_of_step(step: PlanStep, view: RoundView, ground: Ground) -> Iterator[Finding]:
    for criterion in step.acceptance_criteria:
        if view.is_done(step.id):
            yield _finding(criterion["text"], criterion["check"], ground)
        elif not step.optional:
            told = f"step {step.id} did not finish"
            yield Finding(criterion["text"], None, CheckedBy.NOT_CHECKED, told, step.id)


def _finding(text: str, rule: Mapping[str, Any] | None, ground: Ground) -> Finding:
    if rule is None:
        told = "it has no machine check, and no model is configured to judge its words"
        return Finding(text, None, CheckedBy.NOT_CHECKED, told, ground.step)
    outcome = check(rule, ground)
    return Finding(text, outcome.met, CheckedBy.RULE, outcome.explanation, ground.step, outcome.evidence)
