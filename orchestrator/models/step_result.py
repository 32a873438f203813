"""The result of one attempt at a step, as a plain frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from orchestrator.models.record import known_members

FILES: Final = "files"
"""The member of a result's provenance with the ids of the files that the step stored for its tenant."""


class ResultStatus(StrEnum):
    """The outcome of an attempt at a step."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class StepResult:
    """An arm's result: the output, its provenance, and the evidence for the judge.

    `error` is {code, message, retryable, details} of a failed step, else None. `artifact` is the id of the file that
    holds an output which is too large to be stored in the row; `output` is then a pointer to it. The output of a
    skipped step is {summary}, which says why.
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
        """Return the result as JSON values; they are the result's own, not copies."""
        return dict(vars(self))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the result of a record that `to_record` wrote."""
        return cls(**{**known_members(cls, record), "status": ResultStatus(record["status"])})
