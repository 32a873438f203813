"""The ledger: an arm whose actions append a line to the file $OCTOLLM_LEDGER, which tests and benchmarks count."""

import os
import time
from dataclasses import dataclass
from typing import Literal

from orchestrator.models.errors import OutcomeUnknown, ToolReportsError, ToolTimeout
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.sdk import Context, Failed, Retry, action

_POLL_SECONDS = 0.02

Then = Literal["end", "fail", "fail_for_now", "not_know", "crash", "take_too_long", "report"]


class ReportsErrorForNow(ToolReportsError):
    """The ledger reports an error that another try could avoid."""

    retryable = True


@dataclass
class Written:
    """What was written."""

    summary: str
    key: str


@action(effects="write")
def append(
    text: str, context: Context, seconds_before: float = 0, seconds_after: float = 0, then: Then = "end"
) -> Written:
    """Append one line; a second run appends a second one.

    Args:
        text: the last column of the line, after the key and the attempt
        seconds_before: how long to take before it
        seconds_after: how long to take after it
        then: how the first attempt ends
    """
    return _append(text, context, seconds_before, seconds_after, then)


@action(effects="write", idempotent=True)
def put(
    text: str, context: Context, seconds_before: float = 0, seconds_after: float = 0, then: Then = "end"
) -> Written:
    """Append one line; lines with the same key count as one.

    Args:
        text: the last column of the line, after the key and the attempt
        seconds_before: how long to take before it
        seconds_after: how long to take after it
        then: how the first attempt ends
    """
    return _append(text, context, seconds_before, seconds_after, then)


def _append(text: str, context: Context, before: float, after: float, then: Then) -> Written:
    _pass(context, before)
    if then == "fail":
        raise Failed("ledger_closed", "the ledger takes no lines")
    if then == "fail_for_now" and context.attempt == 1:
        raise Retry("the ledger is busy", after=0)
    line = f"{context.idempotency_key}\t{context.attempt}\t{text}\n"
    descriptor = os.open(os.environ["OCTOLLM_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
    crash_point.here(Point.CALLED_NOT_RETURNED)
    if context.attempt == 1:
        _end_oddly(then)
    _pass(context, after)
    return Written("appended a line", context.idempotency_key)


def _end_oddly(then: Then) -> None:
    if then == "not_know":
        raise OutcomeUnknown("the ledger gave no answer")
    if then == "crash":
        raise ValueError("a defect of the arm")
    if then == "take_too_long":
        raise ToolTimeout("the ledger took too long")
    if then == "report":
        raise ReportsErrorForNow("the ledger reports an error")


def _pass(context: Context, seconds: float) -> None:
    """Let `seconds` pass, as a service that answers slowly does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not context.cancelled:
        time.sleep(_POLL_SECONDS)
    context.checkpoint()
