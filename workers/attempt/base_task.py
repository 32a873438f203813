"""What plan, step and judge have in common: a claim before the work, one transaction that stores what came of it."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from celery import Signature, Task, states
from celery.exceptions import Ignore, WorkerLostError
from celery.worker.request import Request
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import bootstrap
from orchestrator.chord.chord import Refused
from orchestrator.chord.database import statement
from orchestrator.memory import steps
from orchestrator.memory.hints import Hints
from orchestrator.memory.steps import Claim
from orchestrator.models.errors import Stopped
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Priority
from orchestrator.models.verdict import Verdict
from orchestrator.observability import log
from orchestrator.queue import canvas
from orchestrator.settings import Settings
from workers.arms.base import CancelToken
from workers.attempt import attempt
from workers.attempt.result_cache import Keeping, Reuse
from workers.runtime import process

_LOOK_SECONDS: Final = 0.25
_WAIT_SECONDS: Final = 2.0
_PUT_OFF_SECONDS: Final = 1.0
_PUT_OFF_ALONE_SECONDS: Final = 0.2

logger = structlog.get_logger(__name__)


@dataclass
class Carried:
    """What goes with a request from the claim to the hook; `planned_at` is a value of time.monotonic().

    `tell` counts and logs what the hook's transaction did, once it has committed. `keeping` says what a judged
    result may do for other tasks.
    """

    claim: Claim
    outcome: tuple[Plan, dict[str, Any]] | Reuse | StepResult | Verdict | None = None
    keeping: Keeping | None = None
    planned_at: float | None = None
    tell: Callable[[], None] | None = None


class WorkFailed(Exception):
    """The work's outcome is a failure; holds the error's code. Celery, and so Flower, then calls it one as well."""


class WorkRequest(Request):
    """A message in the worker's main process; when its child dies, the lease goes back at once."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Hand the dead child's lease back before Celery sends the message again."""
        wrapped = exc_info.exception
        if isinstance(getattr(wrapped, "exc", wrapped), WorkerLostError | SystemExit):
            self._hand_back()
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Hand back the lease of a child that is killed because it hung past its limit."""
        if not soft:
            self._hand_back()
        super().on_timeout(soft, timeout)

    def _hand_back(self) -> None:
        if self.worker_pid:
            owner = f"{socket.gethostname()}:{self.worker_pid}"
            worker = process.of(self.app)  # type: ignore[arg-type]  # celery-types: None before it is bound
            worker.hand_back(str(self.id), task_id=self.args[0], owner=owner, died=True)


class Work(Task[[str, str], dict[str, str]]):
    """What plan, step and judge have in common: the claim before, the hook after."""

    abstract = True
    Request = WorkRequest  # type: ignore[assignment]  # celery-types knows only the dotted name
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = False
    # logged without a traceback
    throws = (WorkFailed,)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        """Do the work; raises WorkFailed for a failed outcome, which the hook stores as it stores any other."""
        returned = self.run(*args, **kwargs)
        outcome = vars(self.request)["carried"].outcome
        if isinstance(outcome, StepResult) and outcome.error is not None:
            raise WorkFailed(str(outcome.error["code"]))
        return returned

    @contextmanager
    def claimed(self) -> Iterator[tuple[Carried, CancelToken, float]]:
        """Claim the row and keep its lease for the block; raises Ignore when it is not to be had.

        Yields what is carried to the hook, the cancel token and the deadline (time.monotonic). When the database
        goes away the lease is handed back, or ends, and the row is claimed again. Nothing that an attempt did is
        stored once its token says that it lost the right to: this is the one place that looks.
        """
        worker = process.of(self.app)
        claim = claim_in_turn(worker.process, str(self.request.id))
        carried = Carried(claim)
        self.request.update(carried=carried, group=claim.chord_id)
        deadline = time.monotonic() + attempt.limit_seconds(claim)
        with (
            _named(claim),
            worker.hold(claim, deadline=deadline) as token,
        ):
            try:
                yield carried, token, deadline
                token.raise_if_revoked()
            except Stopped as stopped:
                logger.info("attempt.stopped")
                raise Ignore() from stopped
            except SQLAlchemyError as error:
                logger.warning("attempt.database_away", error=error.__class__.__name__)
                worker.give_back(claim)
                raise Ignore() from error

    def on_stored(
        self, conn: Connection, request: Any, state: str, result: Any
    ) -> Sequence["Signature[Any]"]:
        """Do what the outcome entails, in the transaction that stores it: rules 8, 10 and 12.

        A failure written by the pool's parent carries no claim and is refused: the lease decides.
        """
        carried: Carried | None = vars(request).get("carried")
        if carried is None:
            raise Refused(f"no claim comes with the {state} of {request.id}")
        outcome = carried.outcome
        if outcome is None or (state != states.SUCCESS and not isinstance(result, WorkFailed)):
            outcome = attempt.failure(
                "internal_error", f"The {carried.claim.arm} worker failed; its log says more."
            )
        carried.tell = None
        return self.conclude(conn, carried, outcome, process.of(self.app).process.settings)

    def after_return(self, *_: Any, **__: Any) -> None:
        """Tell what was done; it has been committed and published."""
        carried: Carried | None = vars(self.request).get("carried")
        if carried is not None:
            tell(carried, process.of(self.app).process.hints)

    def conclude(
        self, conn: Connection, carried: Carried, outcome: Any, settings: Settings
    ) -> Sequence["Signature[Any]"]:
        """Write what the outcome of this kind of work entails; return what is to be published."""
        raise NotImplementedError


def claim_row(worker: bootstrap.WorkerProcess, step_id: str, *, poison_step: int | None = None) -> Claim:
    """Claim a row for this process, whatever its tenant runs already.

    Raises Ignore when it is done, running, too early or its task has ended.
    """
    claim = _claim(worker, step_id, poison_step=poison_step or worker.settings.poison_step)
    if claim is None:
        logger.info("claim.refused", step_id=step_id)
        raise Ignore()
    return claim


def claim_in_turn(worker: bootstrap.WorkerProcess, step_id: str) -> Claim:
    """Claim a row as `claim_row` does, if its tenant has not got its share of the arm; else another tenant comes first.

    That tenant's row is published before everything else that is queued, and this one is put off. While no other
    tenant waits, this slot stays free for one: it looks again every _LOOK_SECONDS, and gives up after _WAIT_SECONDS.
    """
    settings = worker.settings
    limits = {"poison_step": settings.poison_step, "max_running": settings.tenant_max_running_steps}
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        claim = _claim(worker, step_id, **limits)
        if claim is not None:
            return claim
        with statement(worker.engine) as conn:
            turn = steps.next_in_turn(conn, step_id, **limits)
        if turn is None:
            logger.info("claim.refused", step_id=step_id)
            raise Ignore()
        if turn.message is not None or time.monotonic() >= until:
            break
        time.sleep(_LOOK_SECONDS)
    with statement(worker.engine) as conn:
        delay = _PUT_OFF_SECONDS if turn.message else _PUT_OFF_ALONE_SECONDS
        steps.delay_queued(conn, step_id, delay_seconds=delay)
    if turn.message is not None:
        canvas.publish(worker.app, [replace(turn.message, priority=Priority.CRITICAL.broker_priority)])
    logger.info("claim.put_off", step_id=step_id, next_step_id=turn.message.id if turn.message else None)
    raise Ignore()


def _claim(worker: bootstrap.WorkerProcess, step_id: str, **limits: int) -> Claim | None:
    with statement(worker.engine) as conn:
        claim = steps.claim(
            conn, step_id, owner=worker.owner, lease_seconds=worker.settings.lease_seconds, **limits
        )
    if claim is not None:
        worker.hints.send(claim.task_id)
    return claim


def tell(carried: Carried, hints: Hints) -> None:
    """Tell watchers, metrics and the log what came of a request; it has been committed."""
    hints.send(carried.claim.task_id)
    if carried.tell is not None:
        with _named(carried.claim):
            carried.tell()


def _named(claim: Claim) -> AbstractContextManager[None]:
    """Put the claim's names on every line logged inside."""
    return log.bound(task_id=claim.task_id, step=claim.name, arm=claim.arm, attempt=claim.attempt)
