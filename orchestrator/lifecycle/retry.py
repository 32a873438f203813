"""Retries a task that has ended: a new task with its contract and plan, which keeps the steps that finished.

A fork is a retry that changes something; see orchestrator.lifecycle.fork.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from orchestrator.chord.database import in_transaction
from orchestrator.lifecycle.fork import (
    check_fork,
    forked_contract,
    require_no_steps,
    require_planner,
    tells_planner,
    touched,
)
from orchestrator.lifecycle.submission import Submitted, plan_message, read_attachments, require_earlier
from orchestrator.memory import rounds, steps, tasks
from orchestrator.memory.rounds import RoundRecord
from orchestrator.memory.steps import StepOutcome
from orchestrator.memory.tasks import NewTask, SourceTask, TaskRecord
from orchestrator.models.caller import Caller
from orchestrator.models.errors import InvalidInput, InvalidOperation, NotFound
from orchestrator.models.execution_state import StepState, TaskStatus
from orchestrator.models.fork import Fork
from orchestrator.models.ids import TaskId, new_task_id
from orchestrator.models.plan import Plan
from orchestrator.models.record import known_members
from orchestrator.models.task_contract import Contract
from orchestrator.models.trace_context import TraceContext
from orchestrator.planner.check import descendants
from orchestrator.settings import Settings

_MEMBER = "retry"


@dataclass(frozen=True)
class RetrySource:
    """The ended task, and its last round, whose plan and results a retry reuses; `from_step` is run again.

    So are the steps that a fork touches, which map to the reason (see orchestrator.lifecycle.fork.touched). `inputs`
    are those that it sets. `is_planned_again`: it tells the planner something, so a model makes another plan.
    A replay (`is_replay`) runs all steps of the task's first round again, by what its models answered.
    """

    task_id: str
    round: int
    from_step: str | None
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    touched: Mapping[str, str] = field(default_factory=dict)
    is_planned_again: bool = False
    is_replay: bool = False

    def to_spec(self) -> dict[str, Any]:
        """Return the spec of the new task's plan row; what a plain retry does not have is left out."""
        spec = {name: value for name, value in asdict(self).items() if value or name == "from_step"}
        return {_MEMBER: spec}

    @property
    def begins(self) -> frozenset[str]:
        """Return the steps that run again though they are done."""
        return frozenset({*self.touched, *([self.from_step] if self.from_step else [])})


@dataclass(frozen=True)
class RoundReuse:
    """The steps that a retry's round runs again, and by name the rows whose results it keeps.

    `repeats` are those of the former whose action must not run twice and took effect, or may have: they ask first.
    `feedback` is the judge's to those that were at fault in an earlier round. `source` is the round whose results are
    kept, of this task or of the one that a retry repeats; None if there is none. Of a step with for_each, the items
    that are done are kept, unless it is one of those `again`.
    """

    reruns: frozenset[str]
    kept: Mapping[str, StepOutcome]
    repeats: frozenset[str] = frozenset()
    feedback: Mapping[str, str] = field(default_factory=dict)
    source: RetrySource | None = None
    again: frozenset[str] = frozenset()
    outcomes: Sequence[StepOutcome] = ()


@dataclass(frozen=True)
class PreparedRetry:
    """What a retry saves: the new task's contract, and the plan and the round whose results it reuses.

    All but the contract are None for a task that was never planned, all but that and the source for one that is planned
    again.
    """

    contract: Contract
    source: RetrySource | None = None
    round: RoundRecord | None = None
    plan: Plan | None = None

    def forked(self, fork: Fork) -> dict[str, Any]:
        """Return what the trace says of a fork: what was set, and from which round and at which steps it departs."""
        source = self.source
        place = {"round": source.round, "touched": dict(source.touched)} if source else {}
        return {"set": fork.to_record(), **place}


def retry(
    engine: Engine,
    *,
    settings: Settings,
    caller: Caller,
    task_id: str,
    from_step: str | None = None,
    fork: Fork | None = None,
) -> Submitted:
    """Save a new task with the contract of an ended one; with an idempotency key a second call saves nothing.

    The new task is not planned again: its plan row names the ended task, whose plan and results are reused when the
    round is saved. Raises NotFound, InvalidOperation for a task that is still open, InvalidInput for a `from_step`
    that the plan does not have and for a `fork` that can't run, IdempotencyConflict.
    """
    new_id = new_task_id()

    def save(conn: Connection) -> tuple[Contract, datetime | None]:
        source = _hold_ended(conn, caller.tenant, task_id)
        prepared = prepare(conn, source, tenant=caller.tenant, from_step=from_step, fork=fork)
        contract = prepared.contract
        if source.is_too_late:
            contract = replace(contract, deadline=None)
        created_at = tasks.submit(
            conn,
            NewTask(new_id, caller, contract, retry_of=source.id, retries=_workflow_of(source)),
            redispatch_seconds=settings.redispatch_seconds,
            plan_spec=prepared.source.to_spec() if prepared.source else {},
        )
        if created_at is not None:
            told = {"from_step": from_step, **(prepared.forked(fork) if fork else {})}
            tasks.link_retry(conn, new_id, source_id=source.id, told=told)
        return contract, created_at

    contract, created_at = in_transaction(engine, save)
    if created_at is None:
        return require_earlier(engine, caller)
    return Submitted(TaskId(new_id), TaskStatus.QUEUED, created_at, messages=[plan_message(new_id, contract)])


def prepare(
    conn: Connection,
    task: SourceTask | TaskRecord,
    *,
    tenant: str,
    from_step: str | None = None,
    fork: Fork | None = None,
) -> PreparedRetry:
    """Return what a retry of an ended task saves; writes and locks nothing. Raises InvalidInput."""
    before = Contract.from_record(task.contract)
    contract = forked_contract(before, fork)
    found = source_round(conn, task, from_step)
    if found is None:
        if fork is not None and fork.replay_of is not None:
            raise InvalidInput.at("replay", f"{task.id} was never planned, so there is nothing to replay")
        if fork is not None:
            require_no_steps(fork, task.id)
        return PreparedRetry(contract)
    last, source = found
    if fork is not None and fork.replay_of is not None:
        if from_step is not None:
            raise InvalidInput.at("from_step", "a replay runs all steps: leave it out")
        last = rounds.read(conn, source.task_id, number=1)
        source = replace(source, round=1, is_replay=True)
    plan = last.plan
    if fork is not None and tells_planner(fork, before):
        require_planner(fork, contract, from_step)
        return PreparedRetry(contract, replace(source, is_planned_again=True))
    if fork is not None:
        attachments = read_attachments(conn, tenant, contract.attachments)
        plan = check_fork(last, fork, contract=contract, tenant=tenant, attachments=attachments)
        outcomes = steps.results_of(conn, source.task_id, round_number=source.round)
        why = touched(last.plan, plan, outcomes, fork=fork, earlier=before.fork)
        source = replace(source, inputs=fork.inputs, touched=why)
        if contract.plan is not None and fork.inputs:
            contract = replace(contract, plan={"steps": plan.to_record()["steps"], "result": plan.result})
    return PreparedRetry(contract, source, last, plan)


def source_of(plan_spec: Mapping[str, Any]) -> RetrySource | None:
    """Return the task that a plan row's spec says to repeat; None for a task that is planned anew."""
    return RetrySource(**known_members(RetrySource, plan_spec[_MEMBER])) if _MEMBER in plan_spec else None


def plan_reuse(
    plan: Plan, outcomes: Sequence[StepOutcome], *, begins: Collection[str] = frozenset()
) -> RoundReuse:
    """Keep the steps that are done; run again the others, those in `begins`, and all steps that depend on either.

    A step with for_each is done if all of its items are. A step that its `when` skipped is asked again, but not the
    steps that depend on it.
    """
    names = {step.id for step in plan.steps}
    # a task that was planned again has rows of steps that its last plan lacks
    done = {
        row.name: row
        for row in outcomes
        if row.state is StepState.DONE and not row.failed_items and row.name in names
    }
    skipped = {row.name for row in outcomes if row.is_skipped} & names
    again = {step.id for step in plan.steps if step.id not in done.keys() | skipped or step.id in begins}
    reruns = frozenset(again | descendants(plan, again) | skipped)
    kept = {name: row for name, row in done.items() if name not in reruns}
    repeats = frozenset(row.name for row in outcomes if row.took_effect and row.name in reruns)
    return RoundReuse(reruns, kept, repeats, again=frozenset(begins), outcomes=outcomes)


def read_reuse(conn: Connection, plan: Plan, source: RetrySource) -> RoundReuse:
    """Return which steps of an ended task a retry of it keeps, and which it runs again: a replay runs all."""
    if source.is_replay:
        return plan_reuse(plan, ())
    outcomes = steps.results_of(conn, source.task_id, round_number=source.round)
    return replace(plan_reuse(plan, outcomes, begins=source.begins), source=source)


def require_ended(source: SourceTask | TaskRecord) -> None:
    """Raise InvalidOperation for a task that is still open."""
    if not TaskStatus(source.status).is_final():
        raise InvalidOperation(
            f"{source.id} is still {source.status}; only a task that has ended can be retried."
        )


def source_round(
    conn: Connection, source: SourceTask | TaskRecord, from_step: str | None
) -> tuple[RoundRecord, RetrySource] | None:
    """Return the round whose plan and results a retry reuses; None for a task that was never planned.

    Raises InvalidInput for a `from_step` that there is not.
    """
    if not source.round:
        if from_step is not None:
            raise InvalidInput.at("from_step", f"{source.id} was never planned, so it has no steps")
        return None
    last = rounds.read(conn, source.id, number=source.round)
    names = [step.id for step in last.plan.steps]
    if from_step is not None and from_step not in names:
        raise InvalidInput.at(
            "from_step", f"the plan of {source.id} has no such step; it has {', '.join(names)}"
        )
    return last, RetrySource(source.id, source.round, from_step)


def _hold_ended(conn: Connection, tenant: str, task_id: str) -> SourceTask:
    source = tasks.hold_source(conn, tenant, task_id)
    if source is None:
        raise NotFound(f"There is no task {task_id}.")
    require_ended(source)
    return source


def _workflow_of(source: SourceTask) -> str:
    return str(TraceContext.from_record(source.trace_context).workflow_of(source.id))
