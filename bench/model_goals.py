"""Runs six goals as new users send them on a whole stack with the configured model, and prints how each one ended.

A line for each goal: who planned it, whether the plan was legal at the first try, corrections, hints, ending, checks
that held, seconds and tokens. Nothing is said about the quality of an answer, which is printed in short. A bad ending
is a figure, not an error: the status is 1 only if no model is configured. `make model-check` runs it; MODEL=local
starts a small model on this machine (scripts/local-model).

    LLM_CHAIN=openai:MODEL OPENAI_BASE_URL=... python bench/model_goals.py [--seconds 300] [--total 900] [--first 1]
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.model_check import open_chain
from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.acceptance.client import Client
from tests.acceptance.user_goals import SIX, UserGoal

_ANSWER_CHARACTERS: Final = 100
_COLUMNS: Final = "{:<32} {:<18} {:<9} {:>11} {:>5} {:<30} {:>7} {:>7} {:>8}"


@dataclass(frozen=True)
class Outcome:
    """How one goal ended."""

    goal: str
    task: dict[str, Any]
    trace: Sequence[dict[str, Any]]
    seconds: float

    def line(self) -> str:
        """Return the outcome as a line of the table."""
        plan = self._last("plan")
        provenance = plan.get("provenance", {})
        is_modelled = plan.get("mode") == "llm"
        corrections = provenance.get("corrections") if is_modelled else None
        findings = self._last("verdict").get("findings", [])
        return _COLUMNS.format(
            self.goal[:32],
            str(provenance.get("recipe") or provenance.get("prompt") or plan.get("mode") or "nobody")[:18],
            "" if corrections is None else "yes" if corrections == 0 else "no",
            "" if corrections is None else corrections,
            len(provenance.get("hints", ())),
            self._ending[:30],
            f"{sum(finding['met'] is True for finding in findings)}/{len(findings)}",
            f"{self.seconds:.1f}",
            self.task["metadata"]["tokens_used"],
        )

    @property
    def answer(self) -> str:
        """The beginning of the answer, or of the error's message."""
        text = (self.task.get("error") or {}).get("message") or (self.task.get("result") or {}).get("output")
        return " ".join(str(text or "").split())[:_ANSWER_CHARACTERS]

    @property
    def _ending(self) -> str:
        error = self.task.get("error")
        return f"failed: {error['code']}" if error else str(self.task["status"])

    def _last(self, kind: str) -> dict[str, Any]:
        return next((item["data"] for item in reversed(self.trace) if item["kind"] == kind), {})


def run(client: Client, goal: UserGoal, *, seconds: float) -> Outcome:
    """Upload a goal's files, run the task for at most `seconds`, and return how it ended."""
    files = [client.upload(content, filename=name) for name, content in goal.files.items()]
    budget = {"max_time_seconds": round(seconds)}
    began = time.monotonic()
    task = client.run(goal.goal, timeout=seconds + 30, attachments=files, budget=budget)
    took = time.monotonic() - began
    return Outcome(goal.goal, task, client.trace(task["task_id"]), took)


def main(arguments: Sequence[str]) -> int:
    """Run the goals while time is left; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="the most for one goal")
    parser.add_argument("--total", type=float, default=900.0, help="no goal begins after this many seconds")
    parser.add_argument("--first", type=int, default=1, help="the number of the goal to begin with")
    chosen = parser.parse_args(arguments)
    if not open_chain(os.environ, lambda _: None).is_configured:
        print("No model is configured: set LLM_CHAIN, and the key or OPENAI_BASE_URL.", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(prefix="octollm-bench-") as folder,
        Stack(
            Path(folder),
            port=0,
            environ={"DATABASE_URL": "", "REDIS_URL": "", "LOG_LEVEL": "error", "RATE_LIMIT": "10000/minute"},
            durable=False,
            processes=ONE_OF_EACH,
        ) as stack,
    ):
        found = settings.load(stack.environ)
        client = Client(
            stack.url, credential.sign_token(found, tenant="bench", key_id="bench", scopes=SCOPES)
        )
        _run_all(client, chosen)
    return 0


def _run_all(client: Client, chosen: argparse.Namespace) -> None:
    heads = (
        "goal",
        "planned by",
        "first try",
        "corrections",
        "hints",
        "ending",
        "checks",
        "seconds",
        "tokens",
    )
    print(_COLUMNS.format(*heads), flush=True)
    outcomes: list[Outcome] = []
    until = time.monotonic() + chosen.total
    for goal in SIX[chosen.first - 1 :]:
        if time.monotonic() > until:
            break
        outcomes.append(run(client, goal, seconds=chosen.seconds))
        print(f"{outcomes[-1].line()}\n    {outcomes[-1].answer}", flush=True)
    passed = sum(outcome.task["status"] == "completed" for outcome in outcomes)
    print(f"{passed} of {len(outcomes)} goals ended with a result; {len(SIX) - len(outcomes)} were not run")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
