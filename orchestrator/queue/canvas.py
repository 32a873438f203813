"""Turns rows into Celery signatures and a round into a Celery chord, and publishes them."""

from collections.abc import Sequence
from typing import Any

import celery
from celery import Celery, Signature

from orchestrator.chord import outbox
from orchestrator.chord.outbox import JOINS_ONLY
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.memory.steps import StepMessage
from orchestrator.memory.webhooks import DeliveryLease
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.execution_state import StepKind, StepState
from orchestrator.queue.app import TASK_NAMES, WEBHOOK_QUEUE, WEBHOOK_TASK

# a prefork child that hangs past its step's limit is killed, or it would keep its slot for ever
_KILL_AFTER_LIMIT_SECONDS = 10

_SHOWN_NAMES = {StepKind.PLAN: "planner.plan", StepKind.JUDGE: "judge.round"}


def signature(app: Celery, message: StepMessage) -> "Signature[Any]":
    """Return the row's only message; it holds ids, and nothing that a user wrote."""
    options: dict[str, Any] = {
        "task_id": message.id,
        "queue": message.queue,
        "priority": message.priority,
        "time_limit": _time_limit(message),
        "shadow": _shown_name(message),
    }
    if message.chord_id is not None:
        options["group_id"] = message.chord_id
    if message.state != StepState.QUEUED:
        options[JOINS_ONLY] = True
    name = TASK_NAMES[StepKind(message.kind)]
    return app.signature(name, args=(message.task_id, message.name), immutable=True, **options)


def encoded(app: Celery, message: StepMessage) -> bytes:
    """Return the row's message as the result backend stores the body of a chord."""
    backend: Any = app.backend
    stored: bytes = backend.to_bytes(signature(app, message))
    return stored


def round_chord(app: Celery, saved: SavedRound) -> "Signature[Any]":
    """Return the round as a chord: the released root steps are the header, the judge is the body."""
    header = [signature(app, message) for message in saved.header]
    return celery.chord(header, signature(app, saved.judge), app=app, task_id=saved.chord_id)


def publish(app: Celery, messages: Sequence[StepMessage]) -> int:
    """Publish rows and return their number; one that fails is logged, and the sweeper publishes it again.

    The answer of a person is stored by a sweeper: no worker would take its message.
    """
    outbox.publish_all(app, [signature(app, message) for message in messages if _has_workers(message)])
    return len(messages)


def publish_webhooks(app: Celery, tickets: Sequence[DeliveryLease]) -> None:
    """Publish webhook deliveries; a lost one is published again when its ticket expires."""
    messages: list[Signature[Any]] = [
        app.signature(
            WEBHOOK_TASK,
            args=tuple(ticket),
            immutable=True,
            task_id=f"{ticket.task_id}:{ticket.seq}:{ticket.attempt}",
            queue=WEBHOOK_QUEUE,
        )
        for ticket in tickets
    ]
    outbox.publish_all(app, messages)


def _has_workers(message: StepMessage) -> bool:
    arm = ARMS.get(message.arm)
    return arm is None or arm.has_workers


def _shown_name(message: StepMessage) -> str:
    """Return the name that Celery's events, Flower and logs show for the row: its arm and action."""
    kind = StepKind(message.kind)
    return f"{message.arm}.{message.spec['action']}" if kind is StepKind.STEP else _SHOWN_NAMES[kind]


def _time_limit(message: StepMessage) -> float | None:
    arm = ARMS.get(message.arm)
    if arm is None or arm.pool != "prefork" or message.kind != StepKind.STEP:
        return None
    # a newer release may have an action that this one lacks: its row is published all the same
    action = arm.actions.get(message.spec["action"])
    limit = message.spec.get("timeout_seconds") or (action.timeout_seconds if action else None)
    return float(limit) + _KILL_AFTER_LIMIT_SECONDS if limit else None
