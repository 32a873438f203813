"""Takes back a result that answered a task wrongly, as its client says, and switches a layer off that did so twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from orchestrator.cache import coalescing, feedback
from orchestrator.chord.database import in_transaction
from orchestrator.models.errors import InvalidOperation


@dataclass(frozen=True)
class Withdrawn:
    """What a wrong hit took back: the result of `source_task_id` answers nothing any more.

    `keys` are those of the hit and of what answered it, up to the source; `switched_off`: nor does the layer.
    """

    task_id: str
    layer: str
    source_task_id: str | None
    keys: Sequence[str]
    switched_off: bool


def report_wrong_hit(engine: Engine, *, tenant: str, task_id: str, reason: str) -> Withdrawn:
    """Take a client's word that the tenant's task got another one's result; saying it twice is safe.

    The result answers nothing any more. Raises InvalidOperation when no earlier result answered the task.
    """

    def withdraw(conn: Connection) -> Withdrawn:
        layer = feedback.record_wrong_hit(conn, tenant, task_id, reason=reason)
        if layer is None:
            raise InvalidOperation(f"{task_id} was not answered by an earlier result.")
        sources = coalescing.withdraw(conn, tenant, task_id)
        keys = [source.cache_key for source in sources if source.cache_key]
        switched = feedback.switch_off_if_reported_often(conn, tenant, layer)
        return Withdrawn(task_id, layer, sources[-1].id if sources else None, keys, switched)

    return in_transaction(engine, withdraw)
