"""The target of the attacks: a running stack, the attacking tenant, and another tenant that must not be affected."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.support.chaos import victims
from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Answer, Client
from tests.acceptance.plans import Step, collect, wait
from tests.fake_llm.server import FakeLLM

ANSWER_SECONDS: Final = 5.0
"""Longest time for an answer of the API to an attacker."""
END_SECONDS: Final = 45.0
"""Longest time for an attacker's own task."""
MAX_MEBIBYTES: Final = 900
"""Memory limit for each process of the stack: a limited child has 256 MiB, a sandboxed tool 1 GiB in all."""
_MEBIBYTE: Final = 1024**2
_PAGE_BYTES: Final = 4096

Attack = Callable[["Scene"], Generator[None, None, str]]
"""Attacks until its `yield`, during which the other tenant's task runs; returns what held. Raises DidNotHold."""


class DidNotHold(Exception):
    """The attack succeeded."""


class Timed(NamedTuple):
    """An answer and its duration in seconds."""

    answer: Answer
    seconds: float


@dataclass
class Scene:
    """The running product and its two tenants."""

    stack: Stack
    fake: FakeLLM
    pool: ThreadPoolExecutor
    memory: "Memory" = field(init=False)
    number: int = 0

    def __post_init__(self) -> None:
        self.memory = Memory(self.stack)
        self.greedy = self.client("greedy")
        self.other = self.client("other")

    def client(self, tenant: str, *, scopes: Sequence[str] = SCOPES) -> Client:
        """Return a client of the stack for a tenant."""
        chosen = settings.load(self.stack.environ)
        token = credential.sign_token(chosen, tenant=tenant, key_id=f"of-{tenant}", scopes=scopes)
        return Client(self.stack.url, token)

    def run_small_task(self) -> float:
        """Run the other tenant's task of two steps; return the seconds from its submission to its end."""
        self.number += 1
        began = time.monotonic()
        task = self.other.run(
            f"small task {self.number}",
            plan={"steps": [wait("a"), collect("b", [self.number], "a")]},
            timeout=90,
        )
        if task["status"] != "completed":
            raise DidNotHold(f"the other tenant's task is {task['status']}: {task['error']}")
        return time.monotonic() - began

    def processes(self) -> list[int]:
        """Return the processes that must survive an attack: those of the Procfile, and the API's workers."""
        workers = [child for pid in self.stack.pids("web") for child in victims.children(pid)]
        return [*self.stack.pids(), *sorted(workers)]

    def begin(self, *steps: Step, **contract: Any) -> "Future[str]":
        """Run a plan as the attacker; return `completed`, or the error code of its step or of the task."""
        return self.pool.submit(self._end_of, self.submit(*steps, **contract))

    def submit(self, *steps: Step, **contract: Any) -> str:
        """Submit a plan as the attacker and return the task's id."""
        return self.greedy.submit("attack", plan={"steps": list(steps)}, cache={"mode": "bypass"}, **contract)

    def answers(self, count: int, call: Callable[[], Answer]) -> "list[Future[Timed]]":
        """Send that many requests at once."""
        return [self.pool.submit(timed, call) for _ in range(count)]

    def post(self, body: Any) -> Callable[[], Answer]:
        """Return a call that submits this body as the attacker."""
        return partial(self.greedy.call, "POST", "/v1/tasks", body)

    def cancel(self, task_ids: Sequence[str]) -> None:
        """End the attacker's tasks."""
        for task_id in task_ids:
            self.greedy.call("POST", f"/v1/tasks/{task_id}/cancel")

    def _end_of(self, task_id: str) -> str:
        task = self.greedy.end_of(task_id, timeout=END_SECONDS)
        codes = [str(step["error"]["code"]) for step in task["steps"] if step.get("error")]
        if task["status"] == "completed":
            return "completed"
        return codes[0] if codes else str((task["error"] or {"code": task["status"]})["code"])


class Memory:
    """Notes the largest process of the stack while its block lasts."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.largest_bytes = 0

    @property
    def largest_mebibytes(self) -> int:
        """What the largest process held at most."""
        return self.largest_bytes // _MEBIBYTE

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look several times a second."""
        self.largest_bytes = 0
        is_over = threading.Event()
        thread = threading.Thread(target=self._look, args=(is_over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _look(self, is_over: threading.Event) -> None:
        while True:
            for program in self._stack.pids():
                held = map(_resident_bytes, victims.with_descendants(program))
                self.largest_bytes = max(self.largest_bytes, *held)
            if is_over.wait(0.3):
                return


def timed(call: Callable[[], Answer]) -> Timed:
    """Call, and return the answer with the seconds it took."""
    began = time.monotonic()
    answer = call()
    return Timed(answer, time.monotonic() - began)


def all_prompt(futures: "Sequence[Future[Timed]]", *, statuses: Sequence[int]) -> str:
    """Return what the answers were. Raises DidNotHold for another status, or an answer that came late."""
    found = [future.result(timeout=END_SECONDS) for future in futures]
    told = sorted({one.answer.status for one in found})
    slowest = max(one.seconds for one in found)
    if not set(told) <= set(statuses):
        raise DidNotHold(f"answered {told}")
    if slowest > ANSWER_SECONDS:
        raise DidNotHold(f"answered after {slowest:.1f} s")
    return f"{len(found)} x {'/'.join(map(str, told))} within {slowest:.2f} s"


def ends(futures: "Sequence[Future[str]]", *, allowed: Sequence[str]) -> str:
    """Return how the attacker's tasks ended. Raises DidNotHold for another end, or none."""
    try:
        found = sorted({future.result(timeout=END_SECONDS + 30) for future in futures})
    except AssertionError as error:
        raise DidNotHold(str(error)) from error
    if not set(found) <= set(allowed):
        raise DidNotHold(f"the attacker's task ended as {found}")
    return f"its task: {', '.join(found)}"


def size_of(answer: Answer) -> int:
    """Return the bytes of an answer's body."""
    return len(json.dumps(answer.body))


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
