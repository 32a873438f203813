"""The kinds of attempt, each with the list of concerns around its work.

A concern is a function `concern(attempt, proceed)`: it calls `proceed(attempt)`, which runs the next concern or, at the
end of the list, the work, and returns the outcome. The first of a list is the outermost. To add one, write a file in
concerns/ and add it to the lists that need it. Two concerns are not in the lists: each model call charges the task's
budget (model.py), and results are counted and logged after the commit that stores them (completion.py).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Protocol

from orchestrator.models.loop import runs_no_arm
from workers.attempt.concerns.approval import check_approval
from workers.attempt.concerns.effect import begin_effect
from workers.attempt.concerns.failure import contain_crash, fail_on_error
from workers.attempt.concerns.large_output import store_large_output
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.concerns.log_fields import add_log_fields
from workers.attempt.concerns.outcome import ask_outcome
from workers.attempt.concerns.own_files import keep_own_files
from workers.attempt.concerns.permit import check_permit
from workers.attempt.concerns.provenance import add_provenance
from workers.attempt.concerns.replay import answer_write, fail_on_miss
from workers.attempt.concerns.retry import postpone, retry
from workers.attempt.concerns.skip import skip_where_needed
from workers.attempt.concerns.step_memo import reuse_step_memo
from workers.attempt.concerns.trace import trace_attempt
from workers.attempt.context import AttemptContext, Handler
from workers.attempt.execution import bind_inputs, run_arm


class Concern(Protocol):
    """The shape that all concerns share."""

    def __call__(self, attempt: AttemptContext, proceed: Handler) -> Any:
        """Call `proceed(attempt)`, at most once, and return the outcome."""
        ...


PLAN: Final[Sequence[Concern]] = (
    add_log_fields,  # names task, step, arm and attempt on each log line
    hold_lease,  # renews the lease; discards the outcome when the lease is lost
    postpone,  # queues the row again when there is no room now; counts no failure
    retry,  # queues the row again when it failed and may be tried again
    trace_attempt,  # writes the attempt's span
    fail_on_error,  # turns an error, or the end of the attempt's time, into a failed result
    fail_on_miss,  # fails a replay whose request had no answer, whatever was made without one
)
STEP: Final[Sequence[Concern]] = (
    add_log_fields,
    hold_lease,
    postpone,
    retry,
    ask_outcome,  # asks a person when nobody can say whether a write took effect
    trace_attempt,
    add_provenance,  # records which arm made the result, how isolated its tools were and how long it took
    fail_on_error,
    fail_on_miss,
    contain_crash,  # turns a defect of the arm into a failed result
    check_permit,  # limits tools and time to what the step's permit allows
    skip_where_needed,  # skips a step whose `when` is not met
    bind_inputs,  # reads the outputs that the step's inputs refer to
    answer_write,  # gives again what a write did, in a replay
    check_approval,  # runs a step that a person must approve only as it was approved
    reuse_step_memo,  # returns the result of the same work done before; offers this one to later steps
    begin_effect,  # marks a write as begun right before its arm is called; says what is known of it afterwards
    store_large_output,  # moves a large output into a file; refuses a result that is too large
    keep_own_files,  # refuses an output that names a file which the step neither saved nor was given
)
JUDGE: Final[Sequence[Concern]] = PLAN
LOOP: Final[Sequence[Concern]] = (
    *PLAN,
    check_permit,  # what is spread is what was planned
)


def wrap(work: Handler, concerns: Sequence[Concern]) -> Handler:
    """Return `work` inside its concerns, the first one outermost."""
    for concern in reversed(concerns):
        work = partial(concern, proceed=work)
    return work


def _plan(attempt: AttemptContext) -> Any:
    from workers.attempt import planning  # noqa: PLC0415 - only planners plan

    return planning.plan_and_route(attempt)


def spread_or_gather(attempt: AttemptContext) -> Any:
    """Spread or gather the items of a for_each."""
    from workers.attempt import loops  # noqa: PLC0415 - only judges spread and gather

    return loops.spread_or_gather(attempt)


def _judge(attempt: AttemptContext) -> Any:
    from workers.attempt import judging  # noqa: PLC0415 - only judges judge

    return judging.judge(attempt)


def step(attempt: AttemptContext) -> Any:
    """Run a step on its arm; or spread or gather the items of a for_each, for which no arm is needed."""
    return _loop(attempt) if runs_no_arm(attempt.claim.spec) else _run(attempt)


plan: Final[Handler] = wrap(_plan, PLAN)
_run: Final[Handler] = wrap(run_arm, STEP)
_loop: Final[Handler] = wrap(spread_or_gather, LOOP)
judge: Final[Handler] = wrap(_judge, JUDGE)
