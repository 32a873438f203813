"""Keeps what models answered, by the hash of the request, so that a task can be replayed without asking again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from orchestrator.chord import sql
from orchestrator.memory.claims import Claim
from orchestrator.models import record
from orchestrator.models.step_result import StepResult

_SQL = sql.load(__file__)

MAX_ANSWER_BYTES: Final = 256 * 1024
"""Larger answers are not kept; only their hash is."""
MAX_ANSWERS: Final = 1_000
"""The most answers that are kept of a task."""
_MAX_READ: Final = 200


@dataclass(frozen=True)
class KeptAnswer:
    """An answer to be kept; `messages` are short hashes of the request's messages. `answer` None: it is not kept."""

    purpose: str
    work: str
    request_sha256: str
    messages: Sequence[str]
    room: int | None
    answer_sha256: str
    answer: Mapping[str, Any] | None


class EarlierAnswer(NamedTuple):
    """What a model answered when a task was first carried out; see KeptAnswer."""

    round: int
    attempt: int
    purpose: str
    work: str
    request_sha256: str
    messages: list[str]
    room: int | None
    answer: dict[str, Any]


class EarlierResult(NamedTuple):
    """The result of a step that was done before, and the id of its row."""

    row_id: str
    result: StepResult


def keep(conn: Connection, claim: Claim, decision: Mapping[str, Any], kept: KeptAnswer) -> None:
    """Record a call to models in the trace of the claim's task, and keep its answer; one statement.

    Locks the task's row until the transaction ends.
    """
    values = {
        "task_id": claim.task_id,
        "round": claim.round,
        "step": claim.name,
        "attempt": claim.attempt,
        "decision": record.encode(decision),
        "kept": record.encode(asdict(kept)),
        "most": MAX_ANSWERS,
    }
    conn.exec_driver_sql(_SQL["record"], values)


def of_step(conn: Connection, task_id: str, *, tenant: str, step: str) -> list[EarlierAnswer]:
    """Return what models answered a step of the tenant's task, and of those that it repeats."""
    values = {"task_id": task_id, "tenant": tenant, "step": step, "limit": _MAX_READ}
    return [EarlierAnswer(*row) for row in conn.exec_driver_sql(_SQL["of_step"], values)]


def result_of(
    conn: Connection, task_id: str, *, tenant: str, step: str, round_number: int
) -> EarlierResult | None:
    """Return the result that a step of the tenant's task had up to this round, or in a task that it repeats."""
    values = {"task_id": task_id, "tenant": tenant, "step": step, "round": round_number}
    row = conn.exec_driver_sql(_SQL["result_of"], values).one_or_none()
    return EarlierResult(row.id, StepResult.from_record(row.result)) if row and row.result else None


def hashes_of(conn: Connection, row_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the hashes of what models answered rows of steps, in the order of the calls; none of a row without."""
    rows = conn.exec_driver_sql(_SQL["hashes_of"], {"ids": list(row_ids)})
    return {row.id: row.hashes for row in rows}
