"""Plans tasks by a model of the fake server, and again after a rejected round, on the real database."""

from dataclasses import replace
from typing import Any

from celery.exceptions import Ignore

from orchestrator.lifecycle import submission
from orchestrator.lifecycle.retry import retry
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import CheckedBy, CriterionFinding, Decision, Verdict
from tests.fake_llm.server import FakeLLM
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer, verdict
from tests.llm_kit import ModelCaller
from workers.attempt import pipeline
from workers.attempt.concerns.lease import hold_lease
from workers.attempt.context import AttemptContext


def planned(name: str, *after: str, **more: Any) -> dict[str, Any]:
    """Return a model's step that needs no attachment: a timer of no length, with a check."""
    return {
        "id": name,
        "description": "",
        "arm": "executor",
        "action": "wait",
        "inputs": {"seconds": 0},
        "depends_on": list(after),
        "acceptance_criteria": [{"text": "it waits", "check": {"pointer": "/seconds", "at_least": 0}}],
        **more,
    }


class Replanner:
    """Does by hand what a planner does, with a model of the fake server."""

    def __init__(self, engineer: Engineer, fake: FakeLLM) -> None:
        self.engineer = engineer
        self.fake = fake
        self.caller = ModelCaller(fake, tokens=2_000)
        self.process = process_of(engineer)
        self.has_model = True

    def allow_writes(self) -> None:
        """Let models' plans write without asking a person."""
        settings = replace(self.engineer.settings, approval_policy=())
        self.process = replace(self.process, settings=settings)

    def submit(self, **contract: Any) -> str:
        """Submit a goal that only a model can plan; return the task's id."""
        settings = replace(self.engineer.settings, openai_api_key="k")
        return submission.submit(
            self.engineer.engine,
            settings=settings,
            caller=Caller(TENANT),
            contract=Contract(goal="Do the odd thing", **contract),
        ).task_id

    def start(self, *plan: dict[str, Any], **contract: Any) -> str:
        """Submit a goal and adopt the model's plan; return the task's id."""
        task_id = self.submit(**contract)
        self.plan(task_id, *plan)
        return task_id

    def plan(self, task_id: str, *plan: dict[str, Any]) -> SavedRound:
        """Claim the newest plan row, have the model answer with these steps, and adopt the plan."""
        return self.adopt(*self.propose(task_id, *plan))

    def propose(self, task_id: str, *plan: dict[str, Any], times: int = 1) -> tuple[Any, Any]:
        """Claim the newest plan row and return the claim and the attempt's outcome."""
        self.fake.answer(*[{"rationale": "", "confidence": 1, "steps": list(plan)}] * times)
        claim = self.engineer.take(task_id, "$plan")
        return claim, self._attempt(claim)

    def try_in_vain(self, task_id: str) -> bool:
        """Claim the newest plan row, and tell whether the attempt ends without an outcome."""
        try:
            self._attempt(self.engineer.take(task_id, "$plan"))
        except Ignore:
            return True
        return False

    def retry(self, task_id: str) -> str:
        """Retry an ended task and adopt its plan again; return the new task's id."""
        again = retry(
            self.engineer.engine, settings=self.engineer.settings, caller=Caller(TENANT), task_id=task_id
        ).task_id
        claim = self.engineer.take(again, "$plan")
        self.adopt(claim, self._attempt(claim))
        return again

    def _attempt(self, claim: Any) -> Any:
        open_models = (lambda: self.caller.models) if self.has_model else None
        concerns = [concern for concern in pipeline.PLAN if concern is not hold_lease]
        attempt = AttemptContext.of(self.process, claim, open_models=open_models)
        return pipeline.wrap(pipeline._plan, concerns)(attempt)

    def adopt(self, claim: Any, outcome: Any) -> SavedRound:
        """Store the outcome of a planning attempt that gave a plan."""
        return self.engineer.adopt(claim, outcome.plan, outcome.routes)


REJECTED = replace(
    verdict(Decision.FAILED, second="not met: it is short"),
    findings=(CriterionFinding("it is short", False, CheckedBy.RULE, "it is long", "second"),),
)


ORIGINAL = (
    "The judge rejected the result: 1 of 1 check failed; running again would not change these steps: second"
)


FAILED = verdict(Decision.FAILED, second="failed with needs_replan: it is a wide table")


def rejected(replanner: Replanner, *plan: dict[str, Any], by: Verdict = REJECTED, **contract: Any) -> str:
    """Carry out a model's plan of `first` and `second` unless another is given; reject it; return the task's id."""
    own = plan or (planned("first"), planned("second", "first"))
    task_id = replanner.start(*own, **contract)
    for step in own:
        replanner.engineer.do(task_id, step["id"], output={"summary": f"{step['id']} is done", "seconds": 0})
    replanner.engineer.judge(task_id, by)
    return task_id


def error_of(replanner: Replanner, task_id: str) -> dict[str, Any]:
    """Return the error of a task that has failed."""
    task = replanner.engineer.task(task_id)
    assert (task.status, task.error is not None) == ("failed", True)
    return dict(task.error or {})
