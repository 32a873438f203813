"""Publishes what a commit made due: what can't be sent stays in the rows, which are the outbox."""

import time
from collections.abc import Sequence
from typing import Any, Final

import structlog
from celery import Celery, Signature
from kombu.exceptions import LimitExceeded, OperationalError

PUBLISH_SECONDS: Final = 1.0
"""How long publishing may go on after one commit; a broker that is away ends it at once."""

_RETRY: Final = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
_BROKER_AWAY: Final = (OperationalError, LimitExceeded, OSError)

log = structlog.get_logger(__name__)


def publish_all(app: Celery, signatures: Sequence["Signature[Any]"]) -> None:
    """Publish signatures, each with its own task id, queue and priority.

    Raises nothing: the outcome is committed, and a failure here must not turn it into a failed task.
    """
    unsent = list(signatures)
    until = time.monotonic() + PUBLISH_SECONDS
    try:
        with app.producer_or_acquire() as producer:
            while unsent and time.monotonic() < until:
                unsent[0].apply_async(producer=producer, add_to_parent=False, retry_policy=_RETRY)
                del unsent[0]
    except Exception as error:
        log.warning("chord.publish_failed", error=repr(error), task_ids=[one.id for one in unsent])
    else:
        if unsent:
            log.warning("chord.publish_failed", error="out of time", task_ids=[one.id for one in unsent])


def publish_body(callback: "Signature[Any]", values: list[Any]) -> bool:
    """Publish a chord's body; False when the broker is away, and the chord stays ready for `fire_ready`.

    Raises whatever else hinders it, such as values that can't be encoded: trying again would not help.
    """
    try:
        callback.delay(values)
    except _BROKER_AWAY as error:
        log.warning("chord.publish_failed", error=repr(error), task_ids=[callback.id])
        return False
    return True
