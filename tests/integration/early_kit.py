"""Plans that a scripted model writes while their first steps begin, and who works on both by hand."""

import json
import threading
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord.database import statement
from orchestrator.lifecycle import submission
from orchestrator.memory import tasks
from orchestrator.memory.claims import Claim
from orchestrator.models.caller import Caller
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision
from tests.fake_llm.server import FakeLLM, Scripted
from tests.integration.kit import TENANT, Engineer, done, verdict
from tests.integration.stored_kit import messages, store
from tests.llm_kit import ModelCaller
from tests.waiting import wait_until
from workers.attempt import pipeline
from workers.attempt.concerns.failure import fail_on_error
from workers.attempt.context import AttemptContext
from workers.attempt.judging import JudgedRound
from workers.attempt.planning import plan_and_route
from workers.tasks import app


def step(name: str, *after: str, **more: Any) -> dict[str, Any]:
    return {
        "action": "executor.wait",
        "id": name,
        "description": f"waits as {name}",
        "inputs": {"seconds": 0},
        "depends_on": list(after),
        "acceptance_criteria": [{"text": "it waits", "check": {"pointer": "/seconds", "at_least": 0}}],
        **more,
    }


def plan_of(*steps: dict[str, Any], confidence: float = 1) -> dict[str, Any]:
    return {"rationale": "why", "steps": list(steps), "result": None, "confidence": confidence}


@dataclass
class Planning:
    """An attempt at a plan in a thread of its own; `join` returns its outcome."""

    claim: Claim
    thread: threading.Thread
    outcomes: list[Any]

    def join(self) -> Any:
        self.thread.join(30)
        assert self.outcomes, "the planning did not end"
        return self.outcomes[0]


@dataclass
class Office:
    """A planner whose model streams, and the workers of its steps."""

    engineer: Engineer
    fake: FakeLLM
    process: WorkerProcess
    endpoint: str = "openai"

    def submit(self, goal: str = "wait for all of them", **contract: Any) -> str:
        return submission.submit(
            self.engineer.engine,
            settings=replace(self.engineer.settings, openai_api_key="k"),
            caller=Caller(TENANT),
            contract=Contract(goal=goal, **contract),
        ).task_id

    def plan(self, task_id: str) -> Planning:
        """Begin to plan."""
        claim = self.engineer.take(task_id, "$plan")
        caller = ModelCaller(self.fake, (f"{self.endpoint}:fake-model",), streams=True, tokens=None)
        attempt = AttemptContext.of(self.process, claim, open_models=lambda: caller.models)
        outcomes: list[Any] = []

        def work() -> None:
            outcomes.append(pipeline.wrap(plan_and_route, [fail_on_error])(attempt))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return Planning(claim, thread, outcomes)

    def store(self, claim: Claim, outcome: Any) -> None:
        """Store an outcome through the result backend."""
        store(app, claim, outcome)

    def adopt(self, planning: Planning) -> Any:
        """Let the model write the rest, and store the outcome of the planning."""
        self.fake.release()
        outcome = planning.join()
        self.store(planning.claim, outcome)
        return outcome

    def finish(self, task_id: str, *names: str) -> None:
        """Do the rest of the steps and judge the round."""
        for name in names:
            self.store(self.engineer.take(task_id, name), done({"summary": name, "seconds": 0}))
        self.store(self.engineer.take(task_id, "$judge"), JudgedRound(verdict(Decision.PASSED), None))

    def begun(self, task_id: str, *names: str) -> None:
        """Wait until exactly these steps have begun early."""
        wait_until(lambda: set(self.early(task_id)) == set(names), 20, f"{names} to begin")

    def early(self, task_id: str) -> dict[str, str]:
        """Return {name: state} of the steps in round 0."""
        sql = "SELECT name, state FROM steps WHERE task_id = %(task)s AND round = 0 AND kind = 'step'"
        return {row["name"]: row["state"] for row in self.engineer.ask(sql, task=task_id)}

    def told(self, task_id: str) -> list[tuple[str, str, int]]:
        """Return (type, step, round) of the events about steps."""
        return [
            (event.type, event.payload["step"], event.payload["round"])
            for event in self.engineer.events(task_id)
            if event.type.startswith("step.") and not event.payload["step"].startswith("$")
        ]

    def published(self, *names: str) -> list[str]:
        """Take the messages from the broker until there is one for each name; return the steps' names."""
        found: list[str] = []

        def all_there() -> bool:
            found.extend(message["body"][0][1] for message in messages(app))
            return set(names) <= set(found)

        wait_until(all_there, 20, f"messages of {names}")
        return found


def held(plan: dict[str, Any], after: str) -> Scripted:
    """Answer a plan; its rest, after the object of the step `after`, is held back."""
    text = json.dumps(plan)
    end = next(json.dumps(one) for one in plan["steps"] if one["id"] == after)
    return Scripted(text=text, hold_after=end)


def early_decision(office: Office, task_id: str) -> dict[str, str] | None:
    """Return what the trace says became of the early steps."""
    sql = "SELECT payload FROM traces WHERE task_id = %(task)s AND kind = 'plan' ORDER BY id"
    found: dict[str, str] | None = office.engineer.ask(sql, task=task_id)[0]["payload"].get("early")
    return found


def steps_of(office: Office, task_id: str) -> list[tasks.StepRecord]:
    """Return the steps that the status shows."""
    with statement(office.engineer.engine) as conn:
        return tasks.steps_of(conn, task_id)
