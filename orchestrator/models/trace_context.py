"""The trace of a task in OpenTelemetry: ids that follow from the task's, and the caller's header `traceparent`.

Every process derives the same ids, so that a trace survives a lost Redis and messages that are published again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, Self

from orchestrator.models.record import known_members

# https://www.w3.org/TR/trace-context/: a version above 00 may add more members, ff is none
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_CHARACTERS = 256
_MEMBER = "judged"


class SpanRef(NamedTuple):
    """A span of any process: its ids in lower-case hexadecimal, and whether its trace is recorded."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    def __str__(self) -> str:
        """Return the value of the header `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


class Judgement(NamedTuple):
    """The judge's attempt that rejected a round."""

    round: int
    attempt: int

    def to_spec(self) -> dict[str, Any]:
        """Return the member of the spec of each row that exists because of the judgement."""
        return {_MEMBER: list(self)}


@dataclass(frozen=True)
class TraceContext:
    """What a task's row keeps for its trace: `parent` is the caller's span, `retries` that of the task it repeats.

    Both are values of the header `traceparent`.
    """

    parent: str | None = None
    retries: str | None = None

    def to_record(self) -> dict[str, str] | None:
        """Return the members that are set as JSON values; None without any."""
        return {name: text for name, text in vars(self).items() if text is not None} or None

    @classmethod
    def from_record(cls, record: Mapping[str, Any] | None) -> Self:
        """Return the context of a record that `to_record` wrote."""
        return cls(**known_members(cls, record or {}))

    def trace_id_of(self, task_id: str) -> str:
        """Return the id of the task's trace: the caller's, else the first 32 digits of the task id's sha256."""
        parent = parse_traceparent(self.parent)
        return parent.trace_id if parent else _digest(task_id)[:32]

    def workflow_of(self, task_id: str) -> SpanRef:
        """Return the task's own span, the parent of the spans of its attempts."""
        return SpanRef(self.trace_id_of(task_id), _digest(task_id)[32:48])


UNTRACED = TraceContext()


def parse_traceparent(text: str | None) -> SpanRef | None:
    """Return the span that a header names; None without one, and for one that is malformed."""
    if text is None or len(text) > _MAX_CHARACTERS:
        return None
    match = _TRACEPARENT.fullmatch(text)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    _, trace_id, span_id, flags, _ = match.groups()
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    return SpanRef(trace_id, span_id, bool(int(flags, 16) & 1))


def judgement_of(spec: Mapping[str, Any]) -> Judgement | None:
    """Return the judgement because of which a row exists; None for a row of a first round."""
    return Judgement(*spec[_MEMBER]) if _MEMBER in spec else None


def attempt_span_id(row_id: str, attempt: int) -> str:
    """Return the id of the span of one attempt at a plan, a step or a judgement."""
    return _digest(f"{row_id}/{attempt}")[:16]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
