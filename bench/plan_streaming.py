"""Measures streaming dispatch: the time to a task's first step, with PLAN_STREAMING on and off, in turn.

Two whole stacks (one process of each kind, fsync on) and a model's server without a model, which writes a plan of six
steps and one that follows them at about 150 tokens a second. The figures are of the events' times by Postgres' clock:
from the submission to the first step's start, and to the task's end. Exit status 0 if the first step starts earlier.
"""

import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.fake_llm.server import FakeLLM, Scripted

TASKS: Final = 8
STEPS: Final = 6
PAUSE_SECONDS: Final = 0.04


def step(name: str, *after: str) -> dict[str, Any]:
    """Return a step of 0.2 s as a model writes it."""
    return {
        "action": "executor.wait",
        "id": name,
        "description": f"Waits a fifth of a second as step {name} of the plan",
        "inputs": {"seconds": 0.2},
        "depends_on": list(after),
        "acceptance_criteria": [{"text": "It waits", "check": {"pointer": "/seconds", "at_least": 0}}],
    }


ROOTS: Final = [f"part{number}" for number in range(STEPS)]
PLAN: Final = {
    "rationale": "Each part is done by itself, and the last step follows them all.",
    "steps": [*map(step, ROOTS), step("last", *ROOTS)],
    "result": None,
    "confidence": 1,
}


def main() -> int:
    """Run the tasks and print the figures."""
    with FakeLLM() as fake, ExitStack() as running:
        text = json.dumps(PLAN)
        fake.add(Scripted(text=text, match="Plan this task", pause_seconds=PAUSE_SECONDS, stays=True))
        clients = {mode: running.enter_context(_Running(fake, mode)).client for mode in ("on", "off")}
        for client in clients.values():
            figures(client)
        found = [(mode, *figures(client)) for _ in range(TASKS) for mode, client in clients.items()]
    print(f"{'PLAN_STREAMING':>14} {'first step P50 s':>17} {'least':>6} {'most':>6} {'end P50 s':>10}")
    medians = {}
    for mode in clients:
        firsts = [first for which, first, _ in found if which == mode]
        ends = [end for which, _, end in found if which == mode]
        medians[mode] = statistics.median(firsts)
        print(
            f"{mode:>14} {medians[mode]:>17.2f} {min(firsts):>6.2f} {max(firsts):>6.2f} "
            f"{statistics.median(ends):>10.2f}"
        )
    return 0 if medians["on"] < medians["off"] else 1


class _Running:
    """A stack with the setting, while its `with` block lasts."""

    def __init__(self, fake: FakeLLM, mode: str) -> None:
        self._environ = {
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": fake.openai_url,
            "LLM_CHAIN": "openai:fake-model",
            "RATE_LIMIT": "100000/second",
            "PLAN_STREAMING": mode,
        }
        self._ending = ExitStack()

    def __enter__(self) -> "_Running":
        folder = self._ending.enter_context(tempfile.TemporaryDirectory(prefix="octollm-bench-"))
        stack = self._ending.enter_context(Stack(Path(folder), port=0, environ=self._environ))
        token = credential.sign_token(
            settings.load(stack.environ), tenant="bench", key_id="bench", scopes=SCOPES
        )
        self.client = Client(stack.url, token)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()


def figures(client: Client) -> tuple[float, float]:
    """Run a task; return the seconds from its submission to its first step's start, and to its end."""
    task = client.run("Wait for all parts", cache={"mode": "bypass"})
    assert task["status"] == "completed", task["error"]
    events = client.events(task["task_id"])
    begun = _time(events[0])
    starts = [event for event in events if event["type"] == "step.started" and event["data"]["step"] in ROOTS]
    return min(map(_time, starts)) - begun, _time(events[-1]) - begun


def _time(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


if __name__ == "__main__":
    sys.exit(main())
