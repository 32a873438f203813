"""Asks the configured model for the plans of goals, and prints which of them have the shape of a right plan.

The goals are in plan_goals.toml. No database, Redis or worker is needed, and no step is done: this measures plans
alone. It ends after the given number of model calls or seconds. A wrong plan is a figure, not an error: the status is
1 only if no model is configured.

    LLM_CHAIN=openai:MODEL OPENAI_BASE_URL=... python bench/model_check.py [--calls 20] [--seconds 600] [--first 1]
"""

import argparse
import os
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from orchestrator import settings
from orchestrator.llm import model_chain
from orchestrator.llm.capabilities import LearnedFacts
from orchestrator.llm.completion import CallRecord, CompletionRequest
from orchestrator.llm.gate import FallbackGate
from orchestrator.llm.model_chain import ModelChain
from orchestrator.llm.prompt import Message
from orchestrator.models.errors import InvalidPlan, StepError
from orchestrator.models.model_work import Work
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.planner.by_model import PlanProposal, plan_by_model
from orchestrator.planner.check import descendants
from orchestrator.planner.plan_schema import PLAN_SCHEMA

GOALS: Final = Path(__file__).with_name("plan_goals.toml")
# model_check needs neither, but all settings are validated together
_SERVERS: Final = {
    "DATABASE_URL": "postgresql://unused@127.0.0.1/unused",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}


@dataclass(frozen=True)
class PlanGoal:
    """A goal, the names of its files, and the shape of a right plan; plan_goals.toml explains the members."""

    goal: str
    files: Sequence[str]
    must: Sequence[str]
    most: int
    any_of: Sequence[str] = ()
    never: Sequence[str] = ()

    @property
    def attachments(self) -> list[Attachment]:
        """Return its files as attachments, with ids made of their names."""
        return [
            Attachment(sha256(name.encode()).hexdigest(), name, "application/octet-stream", 1_000)
            for name in self.files
        ]

    def shape_faults(self, plan: Plan) -> list[str]:
        """Return what is wrong with the shape of a legal plan."""
        named = [f"{step.arm}.{step.action}" for step in plan.steps]
        wrong = [f"lacks {name}" for name in self.must if name not in named]
        wrong += [f"has {name}" for name in self.never if name in named]
        if self.any_of and not set(self.any_of) & set(named):
            wrong.append(f"has none of {', '.join(self.any_of)}")
        if len(named) > self.most:
            wrong.append(f"has {len(named)} steps, more than {self.most}")
        return wrong or self._order_faults(plan, named)

    def _order_faults(self, plan: Plan, named: Sequence[str]) -> list[str]:
        first = {name: plan.steps[named.index(name)].id for name in self.must}
        return [
            f"does {name} only after {later}"
            for number, name in enumerate(self.must)
            for later in self.must[number + 1 :]
            if first[name] in descendants(plan, [first[later]])
        ]


def read_goals(path: Path = GOALS) -> list[PlanGoal]:
    """Return the goals of a file."""
    return [PlanGoal(**record) for record in tomllib.loads(path.read_text("utf-8"))["goal"]]


@dataclass
class PlanAsker:
    """Asks a chain of models for plans until `deadline` (time.monotonic()); `calls` are those it was seen to make."""

    models: ModelChain
    deadline: float
    calls: list[CallRecord]

    def __call__(
        self, messages: Sequence[Message], *, purpose: str, enforced: Mapping[str, Any]
    ) -> PlanProposal:
        """Return the model's answer; raises StepError."""
        completion = self.models.complete(
            CompletionRequest(
                messages, purpose, Work.PLAN, self.deadline, schema=PLAN_SCHEMA, enforced=enforced
            )
        )
        return PlanProposal(completion.value, completion.text, {"model": completion.model})

    def outcome(self, goal: PlanGoal) -> str:
        """Return `right`, or what is wrong with the model's plan, or why there is none."""
        try:
            plan = plan_by_model(self, Contract(goal=goal.goal), goal.attachments)
        except (StepError, InvalidPlan) as failure:
            return f"no plan: {failure.code}: {failure.message[:200]}"
        return "; ".join(goal.shape_faults(plan)) or "right"


def check(asker: PlanAsker, goals: Sequence[PlanGoal], *, calls: int) -> list[str]:
    """Ask for the plan of each goal while calls and time are left; print and return the outcomes."""
    outcomes: list[str] = []
    for goal in goals:
        if len(asker.calls) >= calls or time.monotonic() >= asker.deadline:
            break
        outcomes.append(asker.outcome(goal))
        print(f"{outcomes[-1]}: {goal.goal}", flush=True)
    return outcomes


def open_chain(environ: MutableMapping[str, str], observe: Callable[[CallRecord], None]) -> ModelChain:
    """Return the configured models without servers of ours; `observe` is told each call."""
    return model_chain.open_models(
        settings.load({**_SERVERS, **environ}),
        gate=FallbackGate(),
        observe=observe,
        environ=environ,
        learned=LearnedFacts(),
    )


def main(arguments: Sequence[str]) -> int:
    """Run the check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--first", type=int, default=1, help="the number of the goal to begin with")
    chosen = parser.parse_args(arguments)
    observed: list[CallRecord] = []
    models = open_chain(os.environ, observed.append)
    if not models.is_configured:
        print("No model is configured: set LLM_CHAIN, and the key or OPENAI_BASE_URL.", file=sys.stderr)
        return 1
    asker = PlanAsker(models, time.monotonic() + chosen.seconds, observed)
    goals = read_goals()[chosen.first - 1 :]
    outcomes = check(asker, goals, calls=chosen.calls)
    tokens = sum(call.usage.input_tokens + call.usage.output_tokens for call in asker.calls if call.usage)
    print(
        f"{outcomes.count('right')} of {len(outcomes)} plans are right; {len(asker.calls)} calls, {tokens:,} tokens"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
