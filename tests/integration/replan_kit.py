"""Plans tasks by a model of the fake server, and again after a rejected round, on the real database."""

from dataclasses import replace
from typing import Any

from orchestrator.lifecycle import submission
from orchestrator.lifecycle.saved_round import SavedRound
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Budget, Contract
from tests.fake_llm.server import FakeLLM
from tests.integration.attempt_kit import process_of
from tests.integration.kit import TENANT, Engineer
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

    def submit(self, **contract: Any) -> str:
        """Submit a goal that only a model can plan; return the task's id."""
        settings = replace(self.engineer.settings, openai_api_key="k")
        budget = contract.pop("budget", Budget(max_repairs=0))
        return submission.submit(
            self.engineer.engine,
            settings=settings,
            caller=Caller(TENANT),
            contract=Contract(goal="Do the odd thing", budget=budget, **contract),
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
        attempt = AttemptContext.of(self.process, claim, open_models=lambda: self.caller.models)
        concerns = [concern for concern in pipeline.PLAN if concern is not hold_lease]
        return claim, pipeline.wrap(pipeline._plan, concerns)(attempt)

    def adopt(self, claim: Any, outcome: Any) -> SavedRound:
        """Store the outcome of a planning attempt that gave a plan."""
        return self.engineer.adopt(claim, outcome.plan, outcome.routes)
