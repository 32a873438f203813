"""The judge's verdict on a round, with one finding for each acceptance criterion."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from orchestrator.models.record import known_members


class Decision(StrEnum):
    """The judge's decision on a round."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class CheckedBy(StrEnum):
    """How a criterion was checked."""

    RULE = "rule"
    LLM = "llm"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True)
class CriterionFinding:
    """The judge's finding on one criterion; `met` is None exactly if it was not checked.

    `reason` is a code for why a machine check was impossible: dependency_missing, nothing_to_check, unknown_step. A
    finding that is not `required` is reported but does not affect the verdict.
    """

    criterion: str
    met: bool | None
    checked_by: CheckedBy
    explanation: str
    step: str | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    required: bool = True


@dataclass(frozen=True)
class Verdict:
    """The judge's verdict on a round; `faulty` maps the steps at fault to feedback.

    `coverage` is the share of required criteria that were checked (0 to 1); without criteria, of the check that all
    steps are done. `confidence` in the result is 0 if it was rejected, 1 if rules alone show that every required
    criterion is met, and None if it was not measured. `output` is the answer as text, `output_value` as JSON values,
    and `summary` what each step did. `answered_by` is plan (it names the answer), step (the last one gives it), model
    (it wrote the answer from the outputs) or summary (there is no other answer). `artifacts` are the files of the
    result: see orchestrator.lifecycle.deliverables.
    """

    decision: Decision
    coverage: float
    confidence: float | None = None
    findings: tuple[CriterionFinding, ...] = ()
    faulty: dict[str, str] = field(default_factory=dict)
    output: str = ""
    output_value: Any = None
    summary: str = ""
    answered_by: str = "summary"
    artifacts: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {**vars(self), "findings": tuple(dict(vars(finding)) for finding in self.findings)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the verdict of a record that `to_record` wrote."""
        findings = tuple(
            CriterionFinding(
                **{**known_members(CriterionFinding, item), "checked_by": CheckedBy(item["checked_by"])}
            )
            for item in record["findings"]
        )
        return cls(
            decision=Decision(record["decision"]),
            # release 0.1 stored the coverage as confidence
            coverage=record.get("coverage", record["confidence"]),
            confidence=record["confidence"] if "coverage" in record else None,
            findings=findings,
            faulty=record["faulty"],
            output=record["output"],
            output_value=record["output_value"],
            summary=record.get("summary", record["output"]),
            answered_by=record.get("answered_by", "summary"),
            artifacts=tuple(record.get("artifacts", ())),
            warnings=tuple(record["warnings"]),
        )
