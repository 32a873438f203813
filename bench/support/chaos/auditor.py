"""Checks Postgres after the chaos: each check has a name and one statement that returns violations."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from bench.support.chaos.load import Accepted
from orchestrator.chord import sql
from orchestrator.chord.database import transaction
from tests.ledger import Line

_SQL = sql.load(__file__)
CHECKS: Final = tuple(name for name in _SQL if name != "prepare")


@dataclass(frozen=True)
class Violation:
    """A broken promise: the check that found it, the row, and what is wrong with it."""

    check: str
    subject: str
    told: str


def audit(
    engine: Engine,
    accepted: Sequence[Accepted],
    *,
    calm: Sequence[str] = (),
    effects: Sequence[Line] = (),
    lease_seconds: float,
    is_stopped: bool = False,
) -> list[Violation]:
    """Return every violation; an empty list is a pass.

    `accepted` is the client's record of its 202s. `calm` are the tasks that ran alone, without a fault. `effects` are
    the lines that the actions of the ledger wrote outside.
    `is_stopped`: all workers have been stopped in order, so none may say that it lives.
    """
    told = [
        {
            "task_id": one.task_id,
            "kind": one.wanted.kind,
            "statuses": one.wanted.statuses,
            "outputs": one.wanted.outputs,
        }
        for one in accepted
    ]
    values = {"calm": list(calm), "lease_seconds": lease_seconds, "is_stopped": is_stopped}
    with transaction(engine) as conn:
        written = json.dumps([line._asdict() for line in effects])
        conn.exec_driver_sql(_SQL["prepare"], {"accepted": json.dumps(told), "effects": written})
        return [
            Violation(check, str(row.subject), str(row.told))
            for check in CHECKS
            for row in conn.exec_driver_sql(_SQL[check], values)
        ]
