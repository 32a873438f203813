"""Lets the first steps of a model's plan begin while the plan is still written."""

import structlog
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.auth import permit
from orchestrator.chord.database import statement
from orchestrator.lifecycle.round_rows import RoundLayout, early_row
from orchestrator.memory import early_steps
from orchestrator.models.plan import MAX_STEPS, Offer, Plan, PlanStep
from orchestrator.models.task_contract import Priority
from orchestrator.planner.early_step import read_early_step
from orchestrator.planner.gates import add_gates
from orchestrator.planner.step_stream import StepStream
from orchestrator.process import crash_point
from orchestrator.process.crash_point import Point
from orchestrator.queue import canvas
from workers.attempt.context import AttemptContext
from workers.attempt.routing import Routes, choose_arms

log = structlog.get_logger(__name__)


class EarlyStart:
    """Reads the answers of one attempt at a plan as they are written, and begins steps of them.

    A step begins once in an attempt, whatever the answers say later: when the plan is adopted, those that it does not
    have are cancelled. Without a database it begins no more steps, and the plan is made as without it. `has_begun`
    tells whether any step began.
    """

    def __init__(self, attempt: AttemptContext) -> None:
        self._attempt = attempt
        self._reader = StepStream()
        # how many more steps of this answer are read: each costs a check
        self._left = MAX_STEPS
        self._names: set[str] = set()
        self._is_off = False
        self.has_begun = False

    def begin(self) -> None:
        """Begin another answer."""
        self._reader, self._left = StepStream(), MAX_STEPS

    def add(self, text: str) -> None:
        """Read the next part of the answer; begin the steps that end in it."""
        if self._is_off or self._attempt.stop.is_set():
            return
        texts = self._reader.add(text)[: self._left]
        self._left -= len(texts)
        try:
            if steps := self._read(texts):
                self._begin(steps)
        except SQLAlchemyError as error:
            self._is_off = True
            log.warning("early_steps.database_away", error=type(error).__name__)

    def _read(self, texts: list[str]) -> list[PlanStep]:
        attempt = self._attempt
        read = [
            read_early_step(text, attempt.contract, attempt.attachments, tenant=attempt.claim.tenant)
            for text in texts
        ]
        return list({step.id: step for step in read if step and step.id not in self._names}.values())

    def _begin(self, steps: list[PlanStep]) -> None:
        attempt = self._attempt
        process, claim = attempt.process, attempt.claim
        plan = Plan(tuple(steps), "llm")
        routes = choose_arms(process, plan)
        gated = add_gates(plan, routes, policy=process.settings.approval_policy, tenant=claim.tenant)
        free = [step for step in gated.steps if step.approval is None]
        self._names |= {step.id for step in steps}
        if not free:
            return
        # even if the insertion fails: then it may have happened
        self.has_begun = True
        rows = self._rows(free, routes)
        with statement(process.engine) as conn:
            begun = early_steps.begin(
                conn,
                claim,
                rows,
                routes={step.id: routes[step.id] for step in free},
                max_parallel=process.settings.max_parallel_arms,
                redispatch_seconds=process.settings.redispatch_seconds,
            )
        if begun is None:
            return
        crash_point.here(Point.BEGUN_EARLY_NOT_PUBLISHED)
        canvas.publish(process.app, begun)
        process.hints.send(claim.task_id)
        log.info("early_steps.begun", steps=[message.name for message in begun])

    def _rows(self, steps: list[PlanStep], routes: Routes) -> list[dict[str, object]]:
        claim, settings = self._attempt.claim, self._attempt.process.settings
        layout = RoundLayout(
            task_id=claim.task_id,
            number=0,
            priority=Priority(claim.contract["priority"]).broker_priority,
            routes={name: Offer(route["arm"], route["action"]) for name, route in routes.items()},
            reruns=(),
        )
        first = len(self._names) - len(steps)
        rows = [early_row(step, layout, position=first + place) for place, step in enumerate(steps)]
        if key := settings.permit_private_key:
            return permit.add_permits(key, rows, tenant=claim.tenant, deadline_at=claim.deadline_at)
        return rows
