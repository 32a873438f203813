"""Lets a step wait for a person when it is lost whether its effect happened, and publishes what may run meanwhile."""

import structlog

from orchestrator.bootstrap import WorkerProcess
from orchestrator.lifecycle import effects
from orchestrator.lifecycle.effects import Loss
from orchestrator.queue import canvas

log = structlog.get_logger(__name__)


def ask_about(process: WorkerProcess, loss: Loss) -> bool:
    """Ask a person about a begun effect; False when there is nothing to ask. See orchestrator.lifecycle.effects.ask."""
    asked = effects.ask(process.engine, loss, settings=process.settings)
    if asked is None:
        return False
    canvas.publish(process.app, asked.messages)
    process.hints.send(loss.task_id)
    row = asked.row
    log.error(
        "step.outcome_unknown",
        task_id=row.task_id,
        step=row.name,
        arm=row.arm,
        attempt=row.attempt,
        owner=row.owner,
        reason=loss.reason,
        approval_id=asked.approval_id,
    )
    return True
