"""Finds the result of a step that was done before on the same inputs: sealed pointers in Redis to rows in Postgres."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.cache.lookup import ResultCache
from orchestrator.chord import sql
from orchestrator.models.arm_capability import ARMS, Action
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Attachment

_SCHEMA = "s1"
_PREFIX = "step:"

_SQL = sql.load(__file__)


@dataclass(frozen=True)
class Work:
    """All that decides what a step's result is: `inputs` with references resolved, `attachments` those it reads."""

    tenant: str
    arm: str
    action: str
    inputs: Mapping[str, Any]
    attachments: Sequence[Attachment]
    context: Any

    @property
    def offer(self) -> Action:
        """Return the action's contract."""
        return ARMS[self.arm].actions[self.action]

    @property
    def is_repeatable(self) -> bool:
        """Tell whether doing it again would give the same and do nothing."""
        offer = self.offer
        return offer.deterministic and offer.effects in ("none", "read") and offer.max_age_seconds != 0


class StepMemos:
    """The pointers of one process; Postgres decides whether the row that one leads to may answer."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache

    def find(self, work: Work) -> str | None:
        """Return the id of the row that may hold the work's result."""
        found: str | None = self._cache.store.get(self._name(work))
        return found

    def put(self, work: Work, step_id: str) -> None:
        """Let later steps find a row; it may still be open, for it answers only once it is done."""
        self._cache.store.put(self._name(work), step_id, seconds=self.lasting_seconds(work))

    def lasting_seconds(self, work: Work) -> float:
        """Return how old a result of this work may be."""
        most = work.offer.max_age_seconds
        return min(self._cache.ttl_seconds, most if most is not None else self._cache.ttl_seconds)

    def _name(self, work: Work) -> str:
        files = [[item.sha256, item.filename, item.media_type] for item in work.attachments]
        version = ARMS[work.arm].version
        made_of = [_SCHEMA, work.tenant, self._cache.world, work.arm, version, work.action]
        # not the key's own digest: what tasks may differ in, such as 1 and 1.0, an output may show
        text = json.dumps([*made_of, work.inputs, files, work.context], sort_keys=True)
        return _PREFIX + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read(conn: Connection, work: Work, step_id: str, *, max_age: float) -> StepResult | None:
    """Return what that row's step gave, as that of a step that did no work; None when it may not answer.

    Its provenance says `memo_of`, the row, and `memo_age_seconds`.
    """
    values = {
        "id": step_id,
        "tenant": work.tenant,
        "arm": work.arm,
        "action": work.action,
        "max_age": max_age,
    }
    row = conn.exec_driver_sql(_SQL["read"], values).one_or_none()
    if row is None:
        return None
    result = StepResult.from_record(row.result)
    memo = {"memo_of": step_id, "memo_age_seconds": round(row.age_seconds, 3)}
    return replace(result, usage={}, provenance={**result.provenance, **memo})
