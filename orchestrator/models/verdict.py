"""The judge's verdict on a round, with one finding for each acceptance criterion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from orchestrator.models.record import known_members


class Decision(StrEnum):
    """What the judge says of a round."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class CheckedBy(StrEnum):
    """Who checked a criterion."""

    RULE = "rule"
    LLM = "llm"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True)
class CriterionFinding:
    """The judge's word on one criterion: `met` is None exactly when nobody could check it.

    `reason` is a code that says why a machine check could not be made: dependency_missing, nothing_to_check,
    unknown_step. What is not `required` is told and decides nothing.
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
    """The judge's word on a round; `faulty` names the steps at fault, with feedback for each.

    `coverage` is the share of required criteria that were checked (0 to 1); without any, of the check that all steps
    ended. `confidence` is how sure it is that the result is right: 0 when it was rejected, 1 when rules alone
    show that every required criterion is met, None where nothing measured it.
    """

    decision: Decision
    coverage: float
    confidence: float | None = None
    findings: tuple[CriterionFinding, ...] = ()
    faulty: dict[str, str] = field(default_factory=dict)
    output: str = ""
    output_value: Any = None
    warnings: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_record` wrote."""
        findings = tuple(
            CriterionFinding(
                **{**known_members(CriterionFinding, item), "checked_by": CheckedBy(item["checked_by"])}
            )
            for item in record["findings"]
        )
        return cls(
            decision=Decision(record["decision"]),
            # release 0.1 called the coverage confidence
            coverage=record.get("coverage", record["confidence"]),
            confidence=record["confidence"] if "coverage" in record else None,
            findings=findings,
            faulty=record["faulty"],
            output=record["output"],
            output_value=record["output_value"],
            warnings=tuple(record["warnings"]),
        )
