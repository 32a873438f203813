"""Accepts tasks: answers one from the cache, lets it follow an equal task that runs, or saves it to be planned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from orchestrator.auth.egress import EgressRules, parse_target
from orchestrator.cache.exact import ResultCache
from orchestrator.cache.submission_cache import BYPASSED, CacheStatus, SubmissionCache
from orchestrator.memory import files, submissions
from orchestrator.memory.steps import StepMessage
from orchestrator.memory.tasks import NewTask
from orchestrator.memory.tenancy import tenant_statement
from orchestrator.models.caller import Caller
from orchestrator.models.errors import IdempotencyConflict, InvalidInput, Unavailable
from orchestrator.models.execution_state import PLAN_STEP, TaskStatus
from orchestrator.models.ids import TaskId, new_task_id, step_id
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.check import check_plan
from orchestrator.planner.plan_files import plan_with_ids
from orchestrator.planner.recipe import plan_by_name, plan_by_recipe
from orchestrator.settings import Settings


@dataclass(frozen=True)
class Submitted:
    """A task that is saved in the database.

    `is_replay`: an earlier submission with the same idempotency key made it. `redacted` counts, by kind, what the
    safety screening removed. `messages` are to be published now; the sweeper publishes them later if that fails.
    """

    task_id: TaskId
    status: TaskStatus
    created_at: datetime
    is_replay: bool = False
    cached: CacheStatus = BYPASSED
    redacted: Mapping[str, int] = field(default_factory=dict)
    messages: Sequence[StepMessage] = ()


def submit(
    engine: Engine,
    *,
    settings: Settings,
    caller: Caller,
    contract: Contract,
    cache: ResultCache | None = None,
    require_room: Callable[[], None] = lambda: None,
) -> Submitted:
    """Save a task unless an earlier result answers it; without `cache` it always runs.

    With an idempotency key a second call saves nothing. `require_room` is called before a task that adds work is
    saved, and may raise. Raises InvalidPlan for an illegal client plan, Unplannable when no recipe fits and no model
    is configured, InvalidInput for an unknown recipe, its wrong parameters, unknown attachments or a callback URL that
    is not allowed, NotCached when the task may only be answered from the cache and no result is there,
    IdempotencyConflict when the key belongs to another body.
    """
    attachments = find_attachments(engine, caller.tenant, contract.attachments)
    contract, plan = require_legal(contract, attachments, settings=settings, tenant=caller.tenant)
    task_id = new_task_id()
    task = NewTask(task_id, caller, contract)
    submission_cache = SubmissionCache(cache, task, plan=plan)
    accepted = submission_cache.serve(lambda: tenant_statement(engine, caller.tenant))
    if accepted is None:
        if contract.plan is None:
            plan_without_model(contract, attachments, settings=settings, tenant=caller.tenant)
        require_room()
        with tenant_statement(engine, caller.tenant) as conn:
            accepted = submission_cache.follow_or_run(conn, redispatch_seconds=settings.redispatch_seconds)
    if accepted is None:
        return require_earlier(engine, caller)
    return Submitted(
        task_id,
        accepted.status,
        accepted.created_at,
        cached=accepted.cached,
        redacted=contract.redacted,
        messages=[plan_message(task_id, contract)] if accepted.needs_planning else (),
    )


def require_legal(
    contract: Contract, attachments: Sequence[Attachment], *, settings: Settings, tenant: str
) -> tuple[Contract, Plan | None]:
    """Return the contract, whose plan names its files by their ids, and the client's plan as it is checked.

    Raises InvalidPlan for an illegal plan, InvalidInput for a callback URL that is not allowed.
    """
    plan = None
    if contract.plan is not None:
        plan = check_plan(contract.plan, tenant=tenant, attachments=attachments, contract=contract)
        if attachments:
            contract = replace(contract, plan=plan_with_ids(contract.plan, plan.steps))
    if contract.callback_url is not None:
        require_callback(contract.callback_url, settings)
    return contract, plan


def find_earlier(engine: Engine, caller: Caller) -> Submitted | None:
    """Return the task that an earlier submission with the caller's idempotency key made, if there is one.

    Raises IdempotencyConflict when that submission had another body.
    """
    key = caller.idempotency
    if key is None:
        return None
    with tenant_statement(engine, caller.tenant) as conn:
        earlier = submissions.find(conn, caller.tenant, key.name)
    if earlier is None:
        return None
    if earlier.sha256 != key.sha256:
        raise IdempotencyConflict
    return Submitted(
        TaskId(earlier.task_id),
        TaskStatus.QUEUED,
        earlier.created_at,
        is_replay=True,
        redacted=earlier.redacted,
    )


def require_earlier(engine: Engine, caller: Caller) -> Submitted:
    """Return what `find_earlier` finds; raises Unavailable when the key has just expired."""
    earlier = find_earlier(engine, caller)
    if earlier is None:
        raise Unavailable(
            "The idempotency key of an earlier submission has just expired; send the request again."
        )
    return earlier


def plan_message(task_id: TaskId, contract: Contract) -> StepMessage:
    """Return the message that has a new task planned."""
    return StepMessage(
        id=step_id(task_id, round_number=0, name=PLAN_STEP),
        task_id=task_id,
        name=PLAN_STEP,
        kind="plan",
        arm="planner",
        queue="planner",
        priority=contract.priority.broker_priority,
        chord_id=None,
        round=0,
        spec={},
    )


def plan_without_model(
    contract: Contract, attachments: Sequence[Attachment], *, settings: Settings, tenant: str
) -> Plan | None:
    """Return the recipe's plan of a task without a plan of its own; None if a model plans it.

    The planner would choose the same recipe. Raises InvalidInput, InvalidPlan or Unplannable.
    """
    if contract.recipe is not None:
        return plan_by_name(contract, attachments, tenant=tenant)
    return None if settings.models else plan_by_recipe(contract, attachments, tenant=tenant)


def find_attachments(engine: Engine, tenant: str, ids: Sequence[str]) -> list[Attachment]:
    """Return the tenant's files with these ids. Raises InvalidInput for an unknown one."""
    if not ids:
        return []
    with tenant_statement(engine, tenant) as conn:
        return read_attachments(conn, tenant, ids)


def read_attachments(conn: Connection, tenant: str, ids: Sequence[str]) -> list[Attachment]:
    """Return the tenant's files with these ids, without a statement if there are none. Raises InvalidInput."""
    if not ids:
        return []
    found = [
        Attachment(item.sha256, item.filename, item.media_type, item.size_bytes)
        for item in files.describe(conn, tenant, ids)
    ]
    known = {item.sha256 for item in found}
    missing = [item for item in ids if item not in known]
    if missing:
        raise InvalidInput.at(
            "attachments", f"no such file: {', '.join(missing)}; send it to POST /v1/files first"
        )
    return found


def require_callback(url: str, settings: Settings) -> None:
    """Raise InvalidInput for a callback URL that the settings do not allow."""
    rules = EgressRules.for_webhooks(settings)
    if not rules.allows_any:
        raise InvalidInput.at(
            "callback_url", "webhooks are switched off here; read the task's events instead"
        )
    parse_target(url, rules)
