"""Approvals as values: what a step asks a person, what the person may decide, and the hash of what was approved."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from orchestrator.models.record import known_members


class ApprovalKind(StrEnum):
    """What is asked: may the step run, what is its output, or did its effect happen."""

    APPROVAL = "approval"
    QUESTION = "question"
    OUTCOME = "outcome"


class ApprovalState(StrEnum):
    """The state of an approval; all but PENDING are final."""

    PENDING = "pending"
    APPROVED = "approved"
    EDITED = "edited"
    REJECTED = "rejected"
    ANSWERED = "answered"
    RUN_AGAIN = "run_again"
    ACCEPTED = "accepted"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Verb(StrEnum):
    """A decision that a person may make."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    ANSWER = "answer"
    RUN_AGAIN = "run_again"
    ACCEPT = "accept"

    @property
    def state(self) -> ApprovalState:
        """Return the approval's state after this decision."""
        return _STATES[self]

    @property
    def has_value(self) -> bool:
        """Tell whether the decision comes with a value: the new inputs, the answer, or the output."""
        return self in (Verb.EDIT, Verb.ANSWER, Verb.ACCEPT)


_STATES = {
    Verb.APPROVE: ApprovalState.APPROVED,
    Verb.EDIT: ApprovalState.EDITED,
    Verb.REJECT: ApprovalState.REJECTED,
    Verb.ANSWER: ApprovalState.ANSWERED,
    Verb.RUN_AGAIN: ApprovalState.RUN_AGAIN,
    Verb.ACCEPT: ApprovalState.ACCEPTED,
}

ALLOWED: Mapping[ApprovalKind, tuple[Verb, ...]] = {
    ApprovalKind.APPROVAL: (Verb.APPROVE, Verb.EDIT, Verb.REJECT),
    ApprovalKind.QUESTION: (Verb.ANSWER, Verb.REJECT),
    ApprovalKind.OUTCOME: (Verb.RUN_AGAIN, Verb.ACCEPT, Verb.REJECT),
}
"""The decisions that each kind of approval knows."""


@dataclass(frozen=True)
class Gate:
    """What a step asks before it runs; a plan writes it as the step's member `approval`.

    `by` names who should decide: it is shown, and only `key:ID` excludes all others. `expires_in` is in seconds.
    `on_expiry`: `reject` fails the step, `fail` ends the task, `approve` lets the step run.
    """

    ask: str
    by: str | None = None
    expires_in: float = 86_400.0
    on_expiry: str = "reject"
    allow: tuple[str, ...] = ("approve", "edit", "reject")

    @classmethod
    def from_record(cls, written: Mapping[str, Any]) -> Self:
        """Return the gate of a step's `approval` as it is stored in plans and rows."""
        members = known_members(cls, written)
        return cls(**{**members, "allow": tuple(members["allow"])})

    def to_record(self) -> dict[str, Any]:
        """Return the gate as JSON values."""
        return {**vars(self), "allow": list(self.allow)}


@dataclass(frozen=True)
class Proposal:
    """What a step is about to do; `inputs` holds values only, each reference replaced by what it refers to."""

    arm: str
    action: str
    inputs: Mapping[str, Any]

    def to_record(self) -> dict[str, Any]:
        """Return the proposal as JSON values."""
        return dict(vars(self))

    def equals(self, shown: Mapping[str, Any]) -> bool:
        """Tell whether a stored proposal, whatever else it has, says the same.

        The arm that asked wrote it beside the hash, and may have been taken over. Postgres may write a number in
        another way, so all numbers are compared as floats.
        """
        stored = {name: shown.get(name) for name in self.to_record()}
        texts = map(json.dumps, (self.to_record(), stored))
        mine, theirs = (json.loads(text, parse_int=float) for text in texts)
        return bool(mine == theirs)

    def sha256(self) -> str:
        """Return the hash of the canonical JSON text: sorted members, no spaces, ASCII only."""
        text = json.dumps(self.to_record(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Decision:
    """A person's decision; `value` is the new inputs (edit), the answer, or the step's output (accept).

    `by` names the person or the key, `via` the way: api, cli, console or link. `proposal_hash`, if it is given, must be
    that of the approval. A second decision with the same `once_name` and `once_sha256` gets the first one's answer.
    """

    verb: Verb
    by: str
    via: str
    comment: str = ""
    value: Any = None
    proposal_hash: str | None = None
    once_name: str | None = None
    once_sha256: str | None = None

    @property
    def has_value(self) -> bool:
        """Tell whether `value` counts: an answer may be null."""
        return self.verb.has_value or self.value is not None
