"""Keeps the lease of an attempt's row, and discards the outcome of an attempt that lost it."""

from dataclasses import replace
from typing import Any

import structlog
from celery.exceptions import Ignore
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.models.errors import Stopped
from workers.attempt.context import AttemptContext, Handler
from workers.runtime import process

log = structlog.get_logger(__name__)


def hold_lease(attempt: AttemptContext, proceed: Handler) -> Any:
    """Renew the lease until the work is done; the attempt's stop signal is set when the lease is lost.

    Raises Ignore, so that nothing is stored, when the attempt was stopped or the database went away. In the second
    case the lease is handed back, or ends by itself, and the row is claimed again.
    """
    worker = process.of(attempt.process.app)
    with worker.hold(attempt.claim, deadline=attempt.deadline) as token:
        try:
            held = replace(attempt, stop=token)
            outcome = proceed(held)
            held.raise_if_stopped()
        except Stopped as stopped:
            log.info("attempt.stopped")
            raise Ignore() from stopped
        except SQLAlchemyError as error:
            log.warning("attempt.database_away", error=error.__class__.__name__)
            worker.give_back(attempt.claim)
            raise Ignore() from error
    return outcome
