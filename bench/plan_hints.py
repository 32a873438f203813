"""Measures what hints from earlier tasks change: one seeded stream of goals, each planned with and without hints.

The goals are those of plan_goals.toml, the frequent ones more often, in varied words. Two tenants of one database take
turns: one is told its earlier plans, the other is not. The model is scripted (`ScriptedPlanner` says how it behaves:
it follows the first plan that passed), so the figures show how often a useful plan is found, what wrong hints
would cost, and what the hints add to the prompts; they do not show how well a real model uses them. With --model the
configured model makes the plans instead.

    python bench/plan_hints.py [--tasks 120] [--seed 1]
    LLM_CHAIN=openai:MODEL OPENAI_BASE_URL=... python bench/plan_hints.py --model --tasks 6
"""

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from bench.model_check import PlanGoal, open_chain, read_goals
from orchestrator.chord.database import open_engine, statement
from orchestrator.devserver import servers
from orchestrator.lifecycle import submission
from orchestrator.llm.completion import CallRecord, CompletionRequest
from orchestrator.llm.prompt import Message
from orchestrator.memory import migrate, planned_goals
from orchestrator.memory.planned_goals import EarlierPlan, Goal
from orchestrator.models.caller import Caller
from orchestrator.models.errors import InvalidPlan, StepError
from orchestrator.models.model_work import Work
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Budget, Contract
from orchestrator.models.verdict import CheckedBy, CriterionFinding, Decision, Verdict
from orchestrator.planner.by_model import Ask, PlanProposal, plan_by_model
from orchestrator.planner.catalogue import choose_actions
from orchestrator.planner.plan_schema import PLAN_SCHEMA
from orchestrator.settings import Settings, load
from tests.integration.kit import Engineer

RIGHT, ILLEGAL = 0.5, 0.3
"""How often the scripted model makes a right plan by itself, and an illegal one; else a legal one of another goal."""
_PASSED = re.compile(r'": (1 [^"\n]*?)\. (?:Illegal at first; corrections: \d+\. )?Passed')
_STEP = re.compile(r"\d+ ([^\s;]+\.[^\s;]+)")
_BYTES_A_TOKEN = 4
_OPENINGS = ("", "", "Please ", "Could you please ", "I need this: ")
_WORDS: Final[Sequence[tuple[str, Sequence[str]]]] = (
    ("manual", ("handbook", "guide", "manual")),
    ("document", ("report", "letter", "document")),
    ("notes", ("minutes", "log", "notes")),
    ("package", ("library", "project", "package")),
    ("code", ("module", "program", "code")),
    ("invoice", ("budget", "contract", "invoice")),
    ("policy", ("terms", "rules", "policy")),
)


@dataclass
class Figures:
    """What was counted for one tenant."""

    counts: Counter[str] = field(default_factory=Counter)
    recall_seconds: list[float] = field(default_factory=list)

    def line(self, tasks: int) -> str:
        """Return the figures as a line of the table."""
        shown = ("first try", "right", "calls", "input tokens", "output tokens", "hints", "same goal")
        return " ".join(f"{self.counts[name]:>{max(9, len(name))}}" for name in shown) + f" {tasks:>6}"


class ScriptedPlanner:
    """A model that follows the first hint that passed; without one it is right, illegal or wrong by its dice.

    It answers a correction with the right plan. `dice` are thrown once a task, the same for both tenants.
    """

    def __init__(self, goal: PlanGoal, dice: random.Random) -> None:
        self.goal = goal
        self.own = dice.random()
        self.other = dice.choice(read_goals())
        self.figures = Counter[str]()

    def __call__(
        self, messages: Sequence[Message], *, purpose: str, enforced: Mapping[str, Any]
    ) -> PlanProposal:
        """Return a plan by the hints in the messages."""
        value = self._plan(messages[-1].text)
        text = json.dumps(value)
        self.figures["calls"] += 1
        self.figures["input tokens"] += (
            sum(len(message.text.encode()) for message in messages) // _BYTES_A_TOKEN
        )
        self.figures["output tokens"] += len(text.encode()) // _BYTES_A_TOKEN
        return PlanProposal(value, text, {"model": "scripted"})

    def _plan(self, request: str) -> dict[str, Any]:
        if self.figures["calls"]:
            return plan_of(self.goal.must or self.goal.any_of[:1], self.goal)
        if found := _PASSED.search(request):
            return plan_of(_STEP.findall(found[1]), self.goal)
        if self.own < RIGHT:
            return plan_of(self.goal.must or self.goal.any_of[:1], self.goal)
        if self.own < RIGHT + ILLEGAL:
            plan = plan_of(self.goal.must or self.goal.any_of[:1], self.goal)
            return {**plan, "steps": [{**step, "inputs": {"unknown": 1}} for step in plan["steps"]]}
        return plan_of(self.other.must or self.other.any_of[:1], self.goal)


class RealPlanner:
    """The configured model, with its calls counted."""

    def __init__(self, environ: MutableMapping[str, str], seconds: float) -> None:
        self.observed: list[CallRecord] = []
        self.models = open_chain(environ, self.observed.append)
        self.seconds = seconds
        self.figures = Counter[str]()

    def __call__(
        self, messages: Sequence[Message], *, purpose: str, enforced: Mapping[str, Any]
    ) -> PlanProposal:
        """Return the model's answer; raises StepError."""
        deadline = time.monotonic() + self.seconds
        completion = self.models.complete(
            CompletionRequest(messages, purpose, Work.PLAN, deadline, schema=PLAN_SCHEMA, enforced=enforced)
        )
        self.figures["calls"] += 1
        for call in self.observed:
            self.figures["input tokens"] += call.usage.input_tokens if call.usage else 0
            self.figures["output tokens"] += call.usage.output_tokens if call.usage else 0
        self.observed.clear()
        return PlanProposal(completion.value, completion.text, {"model": completion.model})


def plan_of(names: Sequence[str], goal: PlanGoal) -> dict[str, Any]:
    """Return a legal plan of these actions, one after the other, that ends with a check."""
    actions = choose_actions("")
    steps: list[dict[str, Any]] = []
    for name in [name for name in names if name != "judge.verify"] or ["retriever.collect"]:
        needed = actions[name].input_schema.get("required", ())
        values: dict[str, Any] = {"seconds": 0, "values": {"first": 1}, "attachments": list(goal.files)}
        inputs = {member: values.get(member, goal.goal) for member in needed}
        if actions[name].attachments == "one" and goal.files:
            inputs["attachment"] = goal.files[0]
        before = [f"s{len(steps) - 1}"] if steps else []
        steps.append({"action": name, "id": f"s{len(steps)}", "inputs": inputs, "depends_on": before})
    checked = {"value": {"$from": steps[-1]["id"]}, "check": {"pointer": "/summary", "exists": True}}
    verify = {"action": "judge.verify", "id": "verify", "inputs": checked, "depends_on": []}
    is_checked = bool(actions[steps[-1]["action"]].met)
    return {"rationale": "so", "confidence": 0.9, "steps": steps if is_checked else [*steps, verify]}


@dataclass(frozen=True)
class Site:
    """A database in which tasks are planned and ended."""

    engine: Engine
    settings: Settings

    def run(self, goal: PlanGoal, *, tenant: str, ask: Ask, figures: Figures) -> None:
        """Plan a goal of a tenant by `ask`, and end its task as a judge of shapes would."""
        engineer = Engineer(self.engine, self.settings)
        contract = Contract(goal=goal.goal, budget=Budget(max_replans=0))
        task_id = submission.submit(
            self.engine, settings=self.settings, caller=Caller(tenant), contract=contract
        ).task_id
        claim = engineer.take(task_id, "$plan")
        earlier = self._recall(tenant, task_id, goal, figures) if tenant == "with" else []
        try:
            plan = plan_by_model(ask, contract, goal.attachments, earlier=earlier)
        except (StepError, InvalidPlan) as failure:
            figures.counts[f"no plan: {failure.code}"] += 1
            return
        hints = plan.provenance.get("hints", [])
        figures.counts["hints"] += bool(hints)
        figures.counts["first try"] += not plan.provenance["corrections"]
        is_right = not goal.shape_faults(plan)
        figures.counts["right"] += is_right
        self._end(engineer, claim, plan, is_right=is_right)

    def _recall(self, tenant: str, task_id: str, goal: PlanGoal, figures: Figures) -> list[EarlierPlan]:
        began = time.perf_counter()
        with statement(self.engine) as conn:
            earlier = planned_goals.recall(conn, tenant, task_id, Goal.of(goal.goal), is_kept=True)
        figures.recall_seconds.append(time.perf_counter() - began)
        if earlier:
            figures.counts["same goal"] += _bare(earlier[0].goal) == _bare(goal.goal)
        return earlier

    def _end(self, engineer: Engineer, claim: Any, plan: Plan, *, is_right: bool) -> None:
        engineer.adopt(claim, plan, {step.id: step.preferred._asdict() for step in plan.steps})
        for step in plan.steps:
            engineer.do(claim.task_id, step.id)
        finding = CriterionFinding("It does what the goal says", is_right, CheckedBy.RULE, "by its shape")
        decision = Decision.PASSED if is_right else Decision.FAILED
        engineer.judge(claim.task_id, Verdict(decision, 1.0, findings=(finding,), output="so"))


def stream(goals: Sequence[PlanGoal], dice: random.Random, *, tasks: int) -> list[PlanGoal]:
    """Return goals in varied words; the first of a shuffled list comes most often (Zipf's law)."""
    ranked = dice.sample(list(goals), len(goals))
    weights = [1 / rank for rank in range(1, len(ranked) + 1)]
    return [varied(goal, dice) for goal in dice.choices(ranked, weights, k=tasks)]


def varied(goal: PlanGoal, dice: random.Random) -> PlanGoal:
    """Return a goal in other words that wants the same plan."""
    text = goal.goal
    for word, others in _WORDS:
        text = re.sub(rf"\b{word}\b", dice.choice(others), text)
    opening = dice.choice(_OPENINGS)
    return replace(goal, goal=f"{opening}{text[0].lower() if opening else text[0]}{text[1:]}")


def _bare(text: str) -> str:
    """Return a goal without what `varied` changes."""
    for word, others in _WORDS:
        text = re.sub(rf"\b(?:{'|'.join(others)})\b", word, text)
    for opening in _OPENINGS:
        text = text.removeprefix(opening)
    return text.lower()


def main(arguments: Sequence[str]) -> int:
    """Run the stream and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", action="store_true", help="ask the configured model")
    parser.add_argument("--seconds", type=float, default=300.0, help="of one call to it")
    chosen = parser.parse_args(arguments)
    both = {"with": Figures(), "without": Figures()}
    with tempfile.TemporaryDirectory(prefix="octollm-bench-") as home:
        running = servers.start(Path(home), environ={}, durable=False)
        try:
            migrate.upgrade(running.database_url)
            environ = {"DATABASE_URL": running.database_url, "REDIS_URL": running.redis_url}
            engine = open_engine(running.database_url, pool_size=2)
            _run(Site(engine, load({**environ, "OPENAI_API_KEY": "k"})), both, chosen)
            engine.dispose()
        finally:
            running.stop()
    _print(both, chosen.tasks)
    return 0


def _run(site: Site, both: Mapping[str, Figures], chosen: argparse.Namespace) -> None:
    real = RealPlanner(os.environ, chosen.seconds) if chosen.model else None
    for number, goal in enumerate(stream(read_goals(), random.Random(chosen.seed), tasks=chosen.tasks)):
        for tenant in random.Random(number).sample(list(both), 2):
            ask = real or ScriptedPlanner(goal, random.Random(f"{chosen.seed} {number}"))
            before = Counter(ask.figures)
            site.run(goal, tenant=tenant, ask=ask, figures=both[tenant])
            both[tenant].counts += ask.figures - before
            if real:
                print(f"{tenant}: {goal.goal}: {dict(both[tenant].counts)}", flush=True)


def _print(both: Mapping[str, Figures], tasks: int) -> None:
    print(f"{'':>8} first try     right     calls input tokens output tokens     hints same goal  tasks")
    for tenant, figures in both.items():
        print(f"{tenant:>8} {figures.line(tasks)}")
        if failed := {name: count for name, count in figures.counts.items() if name.startswith("no plan")}:
            print(f"{'':>8} {failed}")
    recalls = sorted(both["with"].recall_seconds)
    print(f"reading hints: median {recalls[len(recalls) // 2] * 1000:.1f} ms")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
