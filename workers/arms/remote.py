"""Runs the steps of HTTP arms: POST {url}/execute behind a circuit breaker, as docs/http-arms.md describes."""

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from standardwebhooks import Webhook

from orchestrator.auth.egress import EgressTarget, execute_target
from orchestrator.auth.pinned import PinnedConnection, Unreachable, connect_to
from orchestrator.llm.gate import Admission, CallOutcome, CallTicket, Rates
from orchestrator.models.arm_errors import ArmFailed, ArmUnavailable
from orchestrator.models.errors import (
    InvalidInput,
    InvalidOutput,
    InvalidStepInput,
    MustWait,
    OutcomeUnknown,
    StepError,
    ToolTimeout,
)
from orchestrator.models.step_result import StepResult
from orchestrator.observability import tracing
from orchestrator.rules.json_schema import faults
from workers.arms.base import Assignment, RemoteAccess, answer, check_inputs
from workers.arms.remote_answer import MAX_ANSWER_BYTES, Answer, read_answer
from workers.sandbox.selection import SandboxStatus

MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
CONNECT_SECONDS: Final = 10.0


class RemoteArm:
    """Any HTTP arm: the assignment says which."""

    def run(self, assignment: Assignment) -> StepResult:
        """Run the step.

        Raises StepError; OutcomeUnknown only for an action that runs once, and only when nobody can know whether the
        arm has done it. Raises MustWait while the arm's breaker is open, Stopped when the attempt was stopped.
        """
        if assignment.remote is None:
            raise LookupError(f"the arm {assignment.arm} has a URL, and this process calls none")
        check_inputs(assignment)
        body = request_body(assignment)
        target = _target(assignment, assignment.remote)
        with tracing.tool(assignment.action, kind="extension"):
            with _admitted(assignment.remote, assignment.arm) as call:
                call.answer = _Exchange(assignment, assignment.remote, target).post(body)
            return _result(assignment, call.answer)


def make(_arm_id: str, _sandbox: SandboxStatus) -> RemoteArm:
    """Return what runs every HTTP arm; they run no tools here."""
    return RemoteArm()


def request_body(assignment: Assignment) -> bytes:
    """Return the JSON that the arm gets. Raises InvalidStepInput above MAX_REQUEST_BYTES."""
    seconds = max(0.0, assignment.deadline - time.monotonic())
    record = {
        "request_id": request_id(assignment),
        "task_id": assignment.task_id,
        "step_id": assignment.step_id,
        "step": assignment.name,
        "round": assignment.round,
        "attempt": assignment.attempt,
        "arm": assignment.arm,
        "action": assignment.action,
        "inputs": dict(assignment.inputs),
        "feedback": assignment.feedback,
        "timeout_seconds": round(seconds, 3),
        "deadline": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
    }
    body = json.dumps(record, ensure_ascii=False).encode()
    if len(body) > MAX_REQUEST_BYTES:
        raise InvalidStepInput(
            f"the inputs of step {assignment.name} are {len(body):,} bytes; an HTTP arm gets at most "
            f"{MAX_REQUEST_BYTES:,}: give it a part of them by a JSON pointer"
        )
    return body


def request_id(assignment: Assignment) -> str:
    """Return the id of this attempt; the Idempotency-Key is the same for all attempts."""
    return f"{assignment.step_id}:{assignment.attempt}"


def headers_of(assignment: Assignment, secret: str, body: bytes, *, now: datetime) -> dict[str, str]:
    """Return the headers of a request, signed as Standard Webhooks describes."""
    return {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "User-Agent": "OctoLLM-Arm/1",
        "Idempotency-Key": assignment.idempotency_key,
        "X-Request-ID": request_id(assignment),
        "webhook-id": request_id(assignment),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(request_id(assignment), now, body.decode()),
    }


class _Call:
    """One admitted call: `answer` is set when the arm has answered."""

    answer: Answer


@contextlib.contextmanager
def _admitted(remote: RemoteAccess, arm_id: str) -> Iterator[_Call]:
    """Ask the arm's breaker, and report to it how the block ended. Raises MustWait while it is open."""
    ticket = CallTicket(f"arm:{arm_id}", Rates(), 0)
    admission = remote.gate.admit(ticket)
    if not admission.is_admitted:
        raise MustWait(_wait_message(arm_id, admission), details={"retry_after": admission.wait_seconds})
    call, outcome = _Call(), CallOutcome("abandoned")
    try:
        yield call
        pause = call.answer.retry_after or 0.0
        outcome = CallOutcome("alive" if call.answer.shows_life else "failed", pause_seconds=pause)
    except StepError as error:
        if isinstance(error, ArmUnavailable | ToolTimeout | OutcomeUnknown):
            outcome = CallOutcome("failed")
        raise
    finally:
        breaker = remote.gate.report(ticket, outcome)
        if breaker == "open" and outcome.kind == "failed":
            remote.report_outage(arm_id, "its circuit breaker is open after repeated failures")
        elif admission.reason == "probe" and outcome.kind == "alive":
            remote.end_outage(arm_id)


def _wait_message(arm_id: str, admission: Admission) -> str:
    if admission.reason == "paused":
        return f"The arm {arm_id} asked to be left alone for {admission.wait_seconds:.0f} s more."
    return f"The arm {arm_id} has failed repeatedly; it is asked again in {admission.wait_seconds:.0f} s."


def _target(assignment: Assignment, remote: RemoteAccess) -> EgressTarget:
    """Return where the arm is now; the operator's rules may have changed since it was registered."""
    url = remote.locate(assignment.arm)
    try:
        return execute_target(url, remote.rules)
    except InvalidInput as error:
        raise ArmFailed(
            f"The arm {assignment.arm} may not be called: {error.message}. Ask the operator, or register it elsewhere."
        ) from error


class _Exchange:
    """One request to the arm and its answer; knows whether the arm may have begun to act."""

    def __init__(self, assignment: Assignment, remote: RemoteAccess, target: EgressTarget) -> None:
        self._assignment = assignment
        self._remote = remote
        self._target = target
        self._is_sent = False

    def post(self, body: bytes) -> Answer:
        """Return the arm's answer, whatever its status."""
        assignment = self._assignment
        assignment.checkpoint()
        try:
            with (
                connect_to(
                    self._target, deadline=assignment.deadline, connect_seconds=CONNECT_SECONDS
                ) as connection,
                assignment.cancelled.calling(connection.abort),
            ):
                return self._exchange(connection, body)
        except Unreachable as error:
            self._fail(_UNREACHABLE[str(error)], error)
        except (OSError, http.client.HTTPException) as error:
            assignment.cancelled.raise_if_revoked()
            if time.monotonic() >= assignment.deadline:
                self._run_late(error)
            self._fail(_shown(error), error)

    def _exchange(self, connection: PinnedConnection, body: bytes) -> Answer:
        secret = self._remote.secret(self._assignment.arm)
        headers = headers_of(self._assignment, secret, body, now=datetime.now(UTC))
        self._is_sent = True
        connection.request("POST", self._target.path, body=body, headers=headers)
        response = connection.getresponse()
        content = connection.read_at_most(response, MAX_ANSWER_BYTES)
        return read_answer(response.status, response.headers, content)

    def _fail(self, reason: str, error: Exception) -> NoReturn:
        name = self._assignment.arm
        if self._is_sent and self._assignment.action_contract.runs_once:
            raise OutcomeUnknown(
                f"The arm {name} got the request, and its answer was lost: {reason}."
            ) from error
        raise ArmUnavailable(f"The arm {name} can't be reached: {reason}.") from error

    def _run_late(self, error: Exception) -> NoReturn:
        name, step = self._assignment.arm, self._assignment.name
        if self._is_sent and self._assignment.action_contract.runs_once:
            raise OutcomeUnknown(f"The arm {name} did not answer step {step} within its limit.") from error
        raise ToolTimeout(f"The arm {name} did not answer step {step} within its limit.") from error


_UNREACHABLE: Final = {
    "name_not_resolved": "its host name has no address",
    "address_not_public": "its host name leads to an address that is not public",
}


def _shown(error: Exception) -> str:
    """Return what went wrong, without text that the other side chose."""
    if isinstance(error, ssl.SSLError):
        return "the TLS connection failed; check its certificate"
    if isinstance(error, TimeoutError):
        return "it did not accept the connection in time"
    if isinstance(error, ConnectionRefusedError):
        return "it refused the connection"
    return "the connection broke"


def _result(assignment: Assignment, given: Answer) -> StepResult:
    """Return the step's result, or raise the error that the answer describes."""
    arm_id, is_once = assignment.arm, assignment.action_contract.runs_once
    if given.error is not None:
        raise given.error_for(arm_id, runs_once=is_once)
    wrong = given.fault or next(
        (
            f"the result breaks the output schema at {'.'.join(map(str, fault.path)) or 'its top'}: {fault.message}"
            for fault in faults(assignment.action_contract.output_schema, given.result)
        ),
        None,
    )
    if wrong is None:
        return answer(assignment, given.result or {}, warnings=list(given.warnings))
    message = f"The arm {arm_id} answered {assignment.action} with {given.status}, but {wrong}."
    raise OutcomeUnknown(message) if is_once else InvalidOutput(message)
