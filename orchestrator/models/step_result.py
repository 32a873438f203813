"""The result of one attempt at a step, as a plain frozen value."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from orchestrator.models.record import known_members


class ResultStatus(StrEnum):
    """How an attempt at a step ended."""

    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class StepResult:
    """What an arm answers: output, where it comes from, and what the judge may rely on.

    `error` is {code, message, retryable, details} of a failed step, else None. `artifact` is the id of the file that
    holds the output where that was too large to be kept here; `output` then is a pointer to it.
    """

    status: ResultStatus
    output: Any = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    artifact: str | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_record` wrote."""
        return cls(**{**known_members(cls, record), "status": ResultStatus(record["status"])})
