"""Owns memoization of steps: signed pointers in Redis to the rows of earlier steps with the same inputs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.cache.exact import ResultCache
from orchestrator.chord import sql
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment

_KEY_VERSION = "s1"
_PREFIX = "step:"

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class StepCall:
    """Everything that decides a step's result: `inputs` with references resolved, `attachments` that it reads."""

    tenant: str
    arm: str
    action: str
    inputs: Mapping[str, Any]
    attachments: Sequence[Attachment]
    context: Any

    @property
    def declaration(self) -> Action:
        """Return the action as its arm's manifest declares it."""
        return ARMS[self.arm].actions[self.action]


def is_repeatable(action: Action) -> bool:
    """Return whether the action is deterministic, has no side effects and may be reused for some time."""
    return action.deterministic and action.effects in ("none", "read") and action.max_age_seconds != 0


class StepMemo:
    """Access to the pointers. Postgres decides whether the row that a pointer names may be used."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache

    def find(self, call: StepCall) -> str | None:
        """Return the id of the step row that may hold the result of the same call."""
        found: str | None = self._cache.store.get(self._name(call))
        return found

    def put(self, call: StepCall, step_id: str) -> None:
        """Store a pointer to a step row. The row may be unfinished: `read` uses it only once it is done."""
        self._cache.store.put(self._name(call), step_id, seconds=self.max_age_seconds(call))

    def max_age_seconds(self, call: StepCall) -> float:
        """Return the highest age at which a result of the call may be used."""
        declared = call.declaration.max_age_seconds
        return min(self._cache.ttl_seconds, declared if declared is not None else self._cache.ttl_seconds)

    def _name(self, call: StepCall) -> str:
        files = [[item.sha256, item.filename, item.media_type] for item in call.attachments]
        version = ARMS[call.arm].version
        fixed = [_KEY_VERSION, call.tenant, self._cache.environment, call.arm, version, call.action]
        # exact JSON, not the normalized form of a task's key: an output may show the difference between 1 and 1.0
        text = json.dumps([*fixed, call.inputs, files, call.context], sort_keys=True)
        return _PREFIX + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read(conn: Connection, call: StepCall, step_id: str, *, max_age: float) -> StepResult | None:
    """Return the result of that step row with empty usage; None if it may not be used.

    `memo_of` (the row's id) and `memo_age_seconds` are added to its provenance. `max_age` is in seconds.
    """
    values = {
        "id": step_id,
        "tenant": call.tenant,
        "arm": call.arm,
        "action": call.action,
        "max_age": max_age,
    }
    row = conn.exec_driver_sql(_SQL["read"], values).one_or_none()
    if row is None:
        return None
    result = StepResult.from_record(row.result)
    memo = {"memo_of": step_id, "memo_age_seconds": round(row.age_seconds, 3)}
    return replace(result, usage={}, provenance={**result.provenance, **memo})
