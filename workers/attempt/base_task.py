"""AttemptTask: the Celery task class of plan, step and judge; claims a row, runs its attempt, stores the outcome."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from celery import Signature, Task, states
from celery.exceptions import WorkerLostError
from celery.worker.request import Request
from sqlalchemy import Connection

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.chord import Refused, StoreAgain
from orchestrator.memory import early_steps
from orchestrator.memory.claims import Claim
from orchestrator.models.execution_state import StepKind
from orchestrator.models.loop import Spread
from orchestrator.models.step_result import StepResult
from workers.attempt.claims import claim_in_turn
from workers.attempt.concerns.failure import failure
from workers.attempt.concerns.log_fields import log_fields
from workers.attempt.context import AttemptContext, Handler
from workers.attempt.result_cache import ReusedResult
from workers.runtime import process, startup_checks

if TYPE_CHECKING:
    from workers.attempt.judging import JudgedRound
    from workers.attempt.planning import RoutedPlan


@dataclass
class AttemptState:
    """State passed from the claim to the completion hook, on Celery's request object.

    `after_commit` counts and logs what the hook's transaction did; it is called once that has committed.
    """

    claim: Claim
    outcome: "RoutedPlan | ReusedResult | StepResult | Spread | JudgedRound | None" = None
    after_commit: Callable[[], None] | None = None


class WorkFailed(Exception):
    """The outcome is a failure; holds the error's code. Makes Celery, and so Flower, report a failure as well."""


class AttemptRequest(Request):
    """A message in the worker's main process; hands the lease back at once when the child that ran it dies."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Hand the dead child's lease back before Celery sends the message again."""
        wrapped = exc_info.exception
        if isinstance(getattr(wrapped, "exc", wrapped), WorkerLostError | SystemExit):
            self._hand_back()
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Hand back the lease of a child that is killed because it ran past the hard time limit."""
        if not soft:
            self._hand_back()
        super().on_timeout(soft, timeout)

    def _hand_back(self) -> None:
        if self.worker_pid:
            owner = f"{socket.gethostname()}:{self.worker_pid}"
            worker = process.of(self.app)  # type: ignore[arg-type]  # celery-types: None before it is bound
            worker.hand_back(str(self.id), task_id=self.args[0], owner=owner, died=True)


class AttemptTask(Task[[str, str], dict[str, str]]):
    """The claim before an attempt, the completion hook after it; see completion.py for the hook of each kind."""

    abstract = True
    Request = AttemptRequest  # type: ignore[assignment]  # celery-types knows only the dotted name
    acks_late = True
    reject_on_worker_lost = True
    # the row in `steps` holds the result, so Celery stores none
    ignore_result = True
    # logged without a traceback
    throws = (WorkFailed,)

    @property
    def process(self) -> WorkerProcess:
        """Return the connections of this process."""
        return process.of(self.app).process

    def attempt(self, work: Handler) -> Any:
        """Claim the request's row, run `work` and return its outcome, which the completion hook will store.

        Raises WorkFailed for a failed result, which the hook stores as any other. Raises Ignore when the row can't be
        claimed and when nothing may be stored.
        """
        worker = process.of(self.app)
        claim = claim_in_turn(worker.process, str(self.request.id))
        state = AttemptState(claim)
        self.request.update(attempt_state=state, group=claim.chord_id)
        context = AttemptContext.of(
            worker.process,
            claim,
            sandbox=startup_checks.sandbox_of(self.app),
            open_models=worker.open_models(),
            open_embedder=lambda: worker.embedder,
        )
        state.outcome = outcome = work(context)
        if isinstance(outcome, StepResult) and outcome.error is not None:
            raise WorkFailed(str(outcome.error["code"]))
        return outcome

    def store_at_once(
        self, conn: Connection, request: Any, state: str, result: Any
    ) -> Sequence["Signature[Any]"] | None:
        """Apply and count the outcome in one statement; None for what only `on_stored` does. Raises like it."""
        attempt, outcome = _outcome(request, state, result)
        _follow_early_step(conn, request, attempt)
        return self.complete_at_once(conn, attempt, outcome)

    def on_stored(
        self, conn: Connection, request: Any, state: str, result: Any
    ) -> Sequence["Signature[Any]"]:
        """Apply the outcome in the transaction that stores it; return the messages to publish (rules 8, 10 and 12).

        Raises Refused for a failure that the pool's parent wrote: it has no claim, so that the lease decides. Raises
        StoreAgain for the outcome of an early step whose plan was adopted just now.
        """
        attempt, outcome = _outcome(request, state, result)
        try:
            return self.complete(conn, attempt, outcome)
        except Refused as refused:
            if _follow_early_step(conn, request, attempt):
                raise StoreAgain from refused
            raise

    def after_return(self, *_: Any, **__: Any) -> None:
        """Report what was done, which has been committed and published."""
        state: AttemptState | None = vars(self.request).get("attempt_state")
        if state is not None:
            self.report(state)

    def report(self, state: AttemptState) -> None:
        """Notify watchers, count and log a committed outcome."""
        self.process.hints.send(state.claim.task_id)
        if state.after_commit is not None:
            with log_fields(state.claim):
                state.after_commit()

    def complete(self, conn: Connection, state: AttemptState, outcome: Any) -> Sequence["Signature[Any]"]:
        """Write what the outcome of this kind of attempt entails; return the messages to publish."""
        raise NotImplementedError

    def complete_at_once(
        self, conn: Connection, state: AttemptState, outcome: Any
    ) -> Sequence["Signature[Any]"] | None:
        """Do what `complete` does in one statement; return None, and write nothing, when that is not possible."""
        raise NotImplementedError


def _follow_early_step(conn: Connection, request: Any, attempt: AttemptState) -> bool:
    """Let the outcome of an early step count in the round into which the step has moved; False if it has not."""
    claim = attempt.claim
    if claim.kind != StepKind.STEP or claim.chord_id is not None:
        return False
    place = early_steps.place(conn, claim.id)
    if place is None or place.chord_id is None:
        return False
    attempt.claim = replace(claim, round=place.round, chord_id=place.chord_id)
    request.update(group=place.chord_id)
    return True


def _outcome(request: Any, state: str, result: Any) -> tuple[AttemptState, Any]:
    """Return the attempt of a request and its outcome; an unexpected error of Celery's or ours is a failed result."""
    attempt: AttemptState | None = vars(request).get("attempt_state")
    if attempt is None:
        raise Refused(f"no claim comes with the {state} of {request.id}")
    outcome = attempt.outcome
    if outcome is None or (state != states.SUCCESS and not isinstance(result, WorkFailed)):
        if attempt.claim.spec.get("once"):
            # its effect may have begun: the lease ends, and a person is asked
            raise Refused(f"the worker failed during the attempt at {request.id}")
        outcome = failure(
            "internal_error", f"The {attempt.claim.arm} worker failed; its log has the details."
        )
    attempt.after_commit = None
    return attempt, outcome
