"""Publishes what a commit made due: what can't be sent stays in the rows, which are the outbox."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import structlog
from celery import Celery, Signature
from kombu.exceptions import LimitExceeded, OperationalError

from orchestrator.connections.redis_client import Availability

PUBLISH_SECONDS: Final = 1.0
"""How long publishing may go on after one commit; a broker that is away ends it at once."""

RETRY: Final = {"max_retries": 0}
"""A connection that a restarted broker closed is replaced before it is used. What still fails is sent when due."""

_PAUSE_SECONDS: Final = 1.0
_BROKER_AWAY: Final = (OperationalError, LimitExceeded, OSError)

log = structlog.get_logger(__name__)


def publish_all(app: Celery, signatures: Sequence["Signature[Any]"]) -> None:
    """Publish signatures, each with its own task id, queue and priority.

    Raises nothing: the outcome is committed, and a failure here must not turn it into a failed task.
    """
    unsent = list(signatures)
    broker = _availability(app)
    until = time.monotonic() + PUBLISH_SECONDS
    fault = "out of time"
    try:
        with app.producer_or_acquire() as producer:
            while unsent and time.monotonic() < until:
                # others may have found out while we waited for a producer
                if not broker.may_try():
                    fault = "the broker is away"
                    break
                unsent[0].apply_async(producer=producer, add_to_parent=False, retry_policy=RETRY)
                broker.record_success()
                del unsent[0]
    except _BROKER_AWAY as error:
        broker.record_failure()
        fault = repr(error)
    except Exception as error:
        fault = repr(error)
    if unsent:
        log.warning("chord.publish_failed", error=fault, task_ids=[one.id for one in unsent])


class BrokerAway(Exception):
    """The broker takes no messages now."""


@contextmanager
def broker_needed(app: Celery, task_id: str | None) -> Iterator[None]:
    """Raise BrokerAway when the broker takes none of the block's messages; a body that is not sent stays ready.

    Raises whatever else hinders them, such as values that can't be encoded: trying again would not help.
    """
    broker = _availability(app)
    if not broker.may_try():
        raise BrokerAway("the broker is away")
    try:
        yield
    except _BROKER_AWAY as error:
        broker.record_failure()
        log.warning("chord.publish_failed", error=repr(error), task_ids=[task_id])
        raise BrokerAway(str(error)) from error
    broker.record_success()


def _availability(app: Celery) -> Availability:
    """Return what this process knows of the app's broker: while it is away, one publisher a second tries it."""
    known: Availability = vars(app).setdefault("octollm_broker", Availability(pause_seconds=_PAUSE_SECONDS))
    return known
