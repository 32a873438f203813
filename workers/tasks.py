"""The Celery tasks: plan, step, judge and webhook. What they do is in workers.attempt and workers.webhook."""

from orchestrator.memory.webhooks import DeliveryLease
from orchestrator.models.execution_state import StepKind
from orchestrator.models.step_result import ResultStatus
from orchestrator.queue.app import TASK_NAMES, WEBHOOK_TASK, make_app
from workers.attempt import pipeline
from workers.attempt.completion import JudgeTask, PlanTask, StepTask
from workers.runtime import presence, process, shutdown

app = make_app()
process.connect_signals(app)
presence.connect_signals(app)
shutdown.connect_signals(app)


# The arguments are ids, shown in Flower; the row is found by the message's id. A newer release may send more of them.
@app.task(base=PlanTask, bind=True, name=TASK_NAMES[StepKind.PLAN])
def plan(self: PlanTask, /, task_id: str, name: str, *_: object, **__: object) -> dict[str, str]:
    """Plan a task, or answer it from the cache."""
    self.attempt(pipeline.plan)
    return {"status": ResultStatus.DONE}


@app.task(base=StepTask, bind=True, name=TASK_NAMES[StepKind.STEP])
def step(self: StepTask, /, task_id: str, name: str, *_: object, **__: object) -> dict[str, str]:
    """Run one step on its arm."""
    return {"status": self.attempt(pipeline.step).status}


@app.task(base=JudgeTask, bind=True, name=TASK_NAMES[StepKind.JUDGE])
def judge(self: JudgeTask, /, task_id: str, name: str, *_: object, **__: object) -> dict[str, str]:
    """Judge a round."""
    return {"decision": self.attempt(pipeline.judge).verdict.decision}


@app.task(name=WEBHOOK_TASK, acks_late=True, ignore_result=True)
def webhook(task_id: str, seq: int, attempt_number: int, *_: object, **__: object) -> None:
    """Deliver the end of a task to the address that its contract names."""
    from workers.webhook import deliver  # noqa: PLC0415 - an HTTP client that no other worker needs

    deliver(process.of(app).process, DeliveryLease(task_id, seq, attempt_number))
