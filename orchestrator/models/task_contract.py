"""The task contract: a client's goal, budget, acceptance criteria and other options, as plain frozen values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from orchestrator.models.fork import Fork
from orchestrator.models.record import known_members

MAX_GOAL_CHARACTERS = 10_000
MAX_CONTEXT_CHARACTERS = 50_000
MAX_CONTEXT_BYTES = 64 * 1024
MAX_CRITERIA = 20
MAX_CONSTRAINTS = 20
MAX_ATTACHMENTS = 20
MAX_CAPABILITIES = 10
MAX_REPLANS = 3
MAX_BUDGET_TOKENS = 10_000_000
MAX_BUDGET_DOLLARS = 100
EFFECTS = ("none", "read", "write")
"""What an action does outside: nothing, read, or write; each includes the ones before it."""


class Priority(StrEnum):
    """The priority of a task; `broker_priority` is its level on Redis, where 0 is served first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def broker_priority(self) -> int:
        """Return the kombu priority: one of 0, 3, 6, 9, the four priority steps of our queues."""
        return {"critical": 0, "high": 3, "medium": 6, "low": 9}[self.value]


@dataclass(frozen=True)
class Budget:
    """The limits of a task: tokens, seconds, US dollars, retries per step, repair rounds, plans made again.

    `is_cost_explicit`: the client set the limit in dollars itself, so no model without a known price may be used.
    """

    max_tokens: int = 100_000
    max_time_seconds: int = 300
    max_cost_dollars: Decimal = Decimal("1.0")
    max_retries: int = 3
    max_repairs: int = 2
    max_replans: int = 1
    is_cost_explicit: bool = False


@dataclass(frozen=True)
class Criterion:
    """One requirement on the result: a text, and optionally a machine check.

    `check` is a rule of orchestrator.rules.check_rule; without one only a model can judge the text.
    """

    text: str
    check: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class CacheControl:
    """What the cache may do for a task; a client can only restrict what the operator allows.

    `reads`: an earlier result may answer, if it is at most `max_age_seconds` old. `stores`: this task's result may
    answer later tasks. `only_cached`: the task must not run.
    """

    reads: bool = True
    stores: bool = True
    only_cached: bool = False
    max_age_seconds: int | None = None

    def tightened(self, other: "CacheControl") -> "CacheControl":
        """Return what both `self` and `other` allow."""
        ages = [age for age in (self.max_age_seconds, other.max_age_seconds) if age is not None]
        return CacheControl(
            self.reads and other.reads,
            self.stores and other.stores,
            self.only_cached or other.only_cached,
            min(ages, default=None),
        )


CACHE_MODES: Mapping[str, CacheControl] = {
    "default": CacheControl(),
    "bypass": CacheControl(reads=False, stores=False),
    "refresh": CacheControl(reads=False),
    "only_cached": CacheControl(stores=False, only_cached=True),
    "no_store": CacheControl(stores=False),
}


@dataclass(frozen=True)
class Attachment:
    """A file that a task may read; its `sha256` (64 hex digits) is the artifact id."""

    sha256: str
    filename: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True)
class Contract:
    """A client's request for a task, normalised; `plan` is the client's own plan or None.

    `recipe` names the recipe to plan by, and `parameters` are its values by name; without one the words of the goal
    may choose a recipe.

    `redacted` is {kind: count} of what orchestrator.safety.screening replaced. `cache` is None if the client did not
    set it. The plan must have a step of `assigned_arm`, and its steps together the `required_capabilities`.
    `effects` (none, read or write) are the greatest effects that an action of the plan may have. `parent_task_id` is
    only for the client's own use. `fork` is what was set when this task was made from an earlier one.
    """

    goal: str
    constraints: list[str] | dict[str, Any] = field(default_factory=list)
    acceptance_criteria: tuple[Criterion, ...] = ()
    context: dict[str, Any] | str | None = None
    attachments: tuple[str, ...] = ()
    budget: Budget = Budget()
    priority: Priority = Priority.MEDIUM
    metadata: dict[str, Any] = field(default_factory=dict)
    deadline: datetime | None = None
    output_schema: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    redacted: dict[str, int] = field(default_factory=dict)
    callback_url: str | None = None
    cache: CacheControl | None = None
    required_capabilities: tuple[str, ...] = ()
    assigned_arm: str | None = None
    parent_task_id: str | None = None
    effects: str = EFFECTS[-1]
    recipe: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    fork: Fork | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the contract as JSON values, for the tasks row and the trace; it shares the contract's own values."""
        members = {name: value for name, value in vars(self).items() if name != "fork"}
        return {
            **members,
            **({"fork": self.fork.to_record()} if self.fork else {}),
            "acceptance_criteria": [dict(vars(criterion)) for criterion in self.acceptance_criteria],
            "budget": {**vars(self.budget), "max_cost_dollars": str(self.budget.max_cost_dollars)},
            "cache": dict(vars(self.cache)) if self.cache else None,
            "deadline": self.deadline.isoformat() if self.deadline else None,
            "priority": self.priority.value,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Contract":
        """Return the contract of a record that `to_record` wrote."""
        budget = known_members(Budget, record["budget"])
        budget["max_cost_dollars"] = Decimal(budget["max_cost_dollars"])
        deadline = record["deadline"]
        cache, fork = record.get("cache"), record.get("fork")
        return cls(
            goal=record["goal"],
            constraints=record["constraints"],
            acceptance_criteria=tuple(
                Criterion(**known_members(Criterion, item)) for item in record["acceptance_criteria"]
            ),
            context=record["context"],
            attachments=tuple(record["attachments"]),
            budget=Budget(**budget),
            priority=Priority(record["priority"]),
            metadata=record["metadata"],
            deadline=datetime.fromisoformat(deadline) if deadline else None,
            output_schema=record["output_schema"],
            plan=record["plan"],
            redacted=record.get("redacted", {}),
            callback_url=record.get("callback_url"),
            cache=CacheControl(**cache) if cache else None,
            required_capabilities=tuple(record.get("required_capabilities", ())),
            assigned_arm=record.get("assigned_arm"),
            parent_task_id=record.get("parent_task_id"),
            effects=record.get("effects", EFFECTS[-1]),
            recipe=record.get("recipe"),
            parameters=record.get("parameters", {}),
            fork=Fork.from_record(fork) if fork else None,
        )


def parse_dollars(text: str) -> Decimal:
    """Parse a limit in US dollars. Raises ValueError."""
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text) or Decimal(text) > MAX_BUDGET_DOLLARS:
        raise ValueError(f"an amount in US dollars from 0 to {MAX_BUDGET_DOLLARS}")
    return Decimal(text)
