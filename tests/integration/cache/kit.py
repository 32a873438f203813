"""Plays clients and workers around the result cache, on real servers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Engine

from orchestrator import executor
from orchestrator.bootstrap import WorkerProcess
from orchestrator.chord import chord
from orchestrator.chord.database import transaction
from orchestrator.lifecycle import submission
from orchestrator.lifecycle.ending import Ended
from orchestrator.lifecycle.submission import Submitted
from orchestrator.llm.embedding import Embedder
from orchestrator.memory.hints import Hints
from orchestrator.memory.steps import Claim
from orchestrator.models.plan import Plan
from orchestrator.models.step_result import StepResult
from orchestrator.models.task_contract import Contract
from orchestrator.models.verdict import Decision, Verdict
from orchestrator.planner.check import check_plan
from orchestrator.queue.app import make_app
from orchestrator.settings import Settings
from tests.fake_llm.server import FakeLLM
from tests.integration.kit import TENANT, Engineer, done
from tests.llm_kit import Caller
from workers.attempt import result_cache, semantic_cache
from workers.attempt.model import OpenModels
from workers.attempt.result_cache import Reuse

GOAL = "List the 3 largest files of build 7"
OTHERWISE = "Show the 3 largest files in build 7"
SAME: dict[str, Any] = {"same": True, "reason": "both list the same files"}
COLLECT = {"id": "a", "arm": "retriever", "action": "collect", "inputs": {"values": [1]}}
WAIT = {"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}
RIGHT = Verdict(Decision.PASSED, 1.0, output="it is so", output_value={"a": [1]})


class Company:
    """Clients who submit goals, and the workers who do them by hand."""

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
            len,
            # where a model is configured, goals that no recipe fits are let in
            settings=replace(self.settings, openai_api_key="k"),
            tenant=tenant,
            key_id=None,
            request_id=None,
            contract=Contract(goal=goal, **contract),
            cache=self.cache,
            scopes=frozenset(scopes),
        )

    def plan(self, task_id: str, *steps: Mapping[str, Any]) -> Ended | None:
        """Claim the plan row; end the task by the cache if that has a result by now, else adopt the plan."""
        claim = self.engineer.take(task_id, "$plan")
        if found := result_cache.recall(self.process, claim) or self._find_alias(claim):
            with transaction(self.process.engine) as conn:
                ended = executor.complete_by(conn, claim, found.source, layer=found.entry.layer)
            self.cache.put(found.entry, seconds=found.source.left_seconds)
            return ended
        self._adopt(claim, check_plan({"steps": list(steps or [COLLECT])}))
        return None

    def _adopt(self, claim: Claim, plan: Plan) -> None:
        routes = {step.id: {"arm": step.arm} for step in plan.steps}
        with transaction(self.process.engine) as conn:
            saved = executor.adopt(conn, claim, plan, routes=routes, settings=self.settings)
            chord.open(conn, saved.chord_id, body=b"{}", size=len(saved.header))

    def _find_alias(self, claim: Claim) -> Reuse | None:
        return semantic_cache.find_alias(
            self.process,
            claim,
            deadline=float("inf"),
            is_stopped=lambda: False,
            open_models=self.open_models,
            open_embedder=lambda: self.embedder,
        )

    @cached_property
    def open_models(self) -> OpenModels | None:
        """The way to the models that the fake server plays; None where there is none."""
        if self.fake is None:
            return None
        models = Caller(self.fake).models
        return lambda: models

    def judge(self, task_id: str, verdict: Verdict = RIGHT) -> Ended:
        """Let the judge's word take effect, and the cache know of it, as the worker does."""
        claim = self.engineer.take(task_id, "$judge")
        keeping = result_cache.keep(self.process, claim, verdict)
        with transaction(self.process.engine) as conn:
            ended = executor.conclude(
                conn,
                claim,
                verdict,
                settings=self.settings,
                admission=keeping.admission if keeping else None,
            )
        assert isinstance(ended, Ended)
        result_cache.remember(self.process, keeping)
        return ended

    def run(
        self,
        task_id: str,
        *steps: Mapping[str, Any],
        verdict: Verdict = RIGHT,
        results: Mapping[str, StepResult] | None = None,
    ) -> Ended:
        """Do all of a task."""
        return self.plan(task_id, *steps) or self.finish(task_id, *steps, verdict=verdict, results=results)

    def finish(
        self,
        task_id: str,
        *steps: Mapping[str, Any],
        verdict: Verdict = RIGHT,
        results: Mapping[str, StepResult] | None = None,
    ) -> Ended:
        """Do all of a planned task."""
        for step in steps or [COLLECT]:
            result = (results or {}).get(step["id"], done())
            self.engineer.store(self.engineer.take(task_id, step["id"]), result)
        return self.judge(task_id, verdict)

    def solved(self, goal: str = GOAL, **contract: Any) -> str:
        """Submit a goal and do it; return the task's id."""
        task_id = self.submit(goal, **contract).task_id
        self.run(task_id)
        return task_id


def with_settings(company: Company, **settings: Any) -> Company:
    """Return the same company after a change of its settings."""
    return Company(company.process.engine, replace(company.settings, **settings))


def aliased(company: Company, fake: FakeLLM) -> str:
    """Have OTHERWISE answered by what GOAL brought; return the task's id."""
    fake.answer(SAME)
    task_id = company.submit(OTHERWISE).task_id
    company.plan(task_id)
    assert company.engineer.task(task_id).status == "completed"
    return task_id


def told(company: Company, task_id: str) -> list[dict[str, Any]]:
    """Return what the task's trace says of its candidates."""
    rows = company.engineer.ask(
        "SELECT payload FROM traces WHERE task_id = %(task)s AND kind = 'alias'", task=task_id
    )
    return [one for row in rows for one in row["payload"]["candidates"]]


def tampered(sealed: bytes) -> bytes:
    """Return what stands in Redis with one bit changed."""
    return sealed[:-1] + bytes([sealed[-1] ^ 1])
