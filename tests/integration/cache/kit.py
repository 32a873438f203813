"""Clients and workers around the result cache, driven by hand on real servers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Engine

from orchestrator import conclusion, executor
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord import chord
from orchestrator.chord.database import statement, transaction
from orchestrator.lifecycle import submission
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.submission import Submitted
from orchestrator.llm.embedding import Embedder
from orchestrator.memory import rounds
from orchestrator.memory.claims import Claim
from orchestrator.memory.hints import Hints
from orchestrator.models.caller import Caller
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.planner.check import check_plan
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.integration.kit import TENANT, Engineer, done
from tests.llm_kit import ModelCaller
from workers.attempt import result_cache, semantic_cache
from workers.attempt.context import AttemptContext
from workers.attempt.model import GoalMeaning
from workers.attempt.result_cache import ReusedResult
from workers.runtime.process import OpenModels

GOAL = "List the 3 largest files of build 7"
OTHERWISE = "Show the 3 largest files in build 7"
SAME: dict[str, Any] = {"same": True, "reason": "both list the same files"}
COLLECT = {"id": "a", "arm": "retriever", "action": "collect", "inputs": {"values": [1]}}
WAIT = {"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}
RIGHT = Verdict(Decision.PASSED, 1.0, output="it is so", output_value={"a": [1]})


class Company:
    """Clients that submit goals, and workers that a test drives step by step."""

    def __init__(self, engine: Engine, settings: Settings, fake: FakeLLM | None = None) -> None:
        if fake is not None:
            settings = replace(settings, openai_api_key="k")
        self.fake = fake
        self.embedder: Embedder | None = None
        self.settings = settings
        self.engineer = Engineer(engine, settings)
        self.process = WorkerProcess(
            settings, engine, Hints(settings.redis_url), make_app(lambda: settings), owner="me"
        )
        self.cache = self.process.cache

    def submit(
        self,
        goal: str = GOAL,
        *,
        tenant: str = TENANT,
        scopes: Sequence[str] = ("task:submit",),
        **contract: Any,
    ) -> Submitted:
        """Submit a goal as the API does."""
        return submission.submit(
            self.process.engine,
            # where a model is configured, goals that no recipe fits are let in
            settings=replace(self.settings, openai_api_key="k"),
            caller=Caller(tenant, scopes=frozenset(scopes)),
            contract=Contract(goal=goal, **contract),
            cache=self.cache,
        )

    def plan(self, task_id: str, *steps: Mapping[str, Any]) -> Ended | None:
        """Claim the plan row; complete the task from the cache if it has a result, else adopt the plan."""
        claim = self.engineer.take(task_id, "$plan")
        if found := result_cache.find_result(AttemptContext.of(self.process, claim)) or self._find_equivalent(
            claim
        ):
            with transaction(self.process.engine) as conn:
                ended = conclusion.complete_by(conn, claim, found.source, layer=found.entry.layer)
            self.cache.put(found.entry, seconds=found.source.left_seconds)
            return ended
        self._adopt(claim, check_plan({"steps": list(steps or [COLLECT])}))
        return None

    def _adopt(self, claim: Claim, plan: Plan) -> None:
        routes = {step.id: step.preferred._asdict() for step in plan.steps}
        with transaction(self.process.engine) as conn:
            saved = executor.adopt(conn, claim, plan, routes=routes, settings=self.settings)
            chord.open(conn, saved.chord_id, body=b"{}", size=len(saved.header))

    def _find_equivalent(self, claim: Claim) -> ReusedResult | None:
        attempt = AttemptContext.of(
            self.process, claim, open_models=self.open_models, open_embedder=lambda: self.embedder
        )
        return semantic_cache.find_equivalent(attempt, GoalMeaning(attempt))

    @cached_property
    def open_models(self) -> OpenModels | None:
        """Opens the models of the fake server; None without one."""
        if self.fake is None:
            return None
        models = ModelCaller(self.fake).models
        return lambda: models

    def judge(self, task_id: str, verdict: Verdict = RIGHT) -> Ended:
        """Apply the verdict and store the result in the cache, as the worker does."""
        claim = self.engineer.take(task_id, "$judge")
        with statement(self.process.engine) as conn:
            read = rounds.read_results(conn, task_id, number=claim.round)
        cacheable = result_cache.admit(AttemptContext.of(self.process, claim), verdict, read)
        with transaction(self.process.engine) as conn:
            ended = conclusion.conclude(
                conn,
                claim,
                verdict,
                settings=self.settings,
                admission=cacheable.admission if cacheable else None,
            )
        assert isinstance(ended, Ended)
        result_cache.store(self.process, cacheable)
        return ended

    def run(
        self,
        task_id: str,
        *steps: Mapping[str, Any],
        verdict: Verdict = RIGHT,
        results: Mapping[str, StepResult] | None = None,
    ) -> Ended:
        """Plan and finish a task."""
        return self.plan(task_id, *steps) or self.finish(task_id, *steps, verdict=verdict, results=results)

    def finish(
        self,
        task_id: str,
        *steps: Mapping[str, Any],
        verdict: Verdict = RIGHT,
        results: Mapping[str, StepResult] | None = None,
    ) -> Ended:
        """Execute the steps of a planned task and judge it."""
        for step in steps or [COLLECT]:
            result = (results or {}).get(step["id"], done())
            self.engineer.store(self.engineer.take(task_id, step["id"]), result)
        return self.judge(task_id, verdict)

    def solved(self, goal: str = GOAL, **contract: Any) -> str:
        """Submit a goal and finish the task; return its id."""
        task_id = self.submit(goal, **contract).task_id
        self.run(task_id)
        return task_id


def with_settings(company: Company, **settings: Any) -> Company:
    """Return the same clients and workers with changed settings."""
    return Company(company.process.engine, replace(company.settings, **settings))


def aliased(company: Company, fake: FakeLLM) -> str:
    """Complete OTHERWISE with the result of GOAL; return the task's id."""
    fake.answer(SAME)
    task_id = company.submit(OTHERWISE).task_id
    company.plan(task_id)
    assert company.engineer.task(task_id).status == "completed"
    return task_id


def told(company: Company, task_id: str) -> list[dict[str, Any]]:
    """Return the candidates in the task's trace."""
    rows = company.engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(task)s AND kind = 'alias' ORDER BY id", task=task_id
    )
    return [one for row in rows for one in row["payload"]["candidates"]]


def tampered(signed: bytes) -> bytes:
    """Return a signed value with one bit changed."""
    return signed[:-1] + bytes([signed[-1] ^ 1])
