"""One run: a stack, a stream of tasks, faults at random moments, then quiet, and the audit."""

import contextlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.support.chaos import graphs, leftovers, victims
from bench.support.chaos.auditor import Violation, audit
from bench.support.chaos.faults import Arsenal, Fault
from bench.support.chaos.figures import Figures, read_figures
from bench.support.chaos.graphs import Wanted
from bench.support.chaos.ground import Ground
from bench.support.chaos.load import Accepted, Load
from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.acceptance.client import Client
from tests.fake_llm.server import FakeLLM
from tests.waiting import wait_until

DRAIN_SECONDS: Final = 240.0
CALM_TASKS: Final = 4
_MUTATION: Final = Path(__file__).parent / "mutation"


@dataclass(frozen=True)
class Conditions:
    """What a run is made of. `mutation` names a defect that is put into every process from outside."""

    seed: int
    seconds: float
    lease_seconds: float
    heartbeat_seconds: float
    open_tasks: int = 12
    mutation: str = ""

    def environ(self, fake: FakeLLM) -> dict[str, str]:
        """Return the stack's environment; what is not named here has its default."""
        environ = {
            "LEASE_SECONDS": f"{self.lease_seconds:g}",
            "HEARTBEAT_SECONDS": f"{self.heartbeat_seconds:g}",
            "OPENAI_API_KEY": "chaos",
            "OPENAI_BASE_URL": fake.openai_url,
            "LLM_CHAIN": "openai:fake-model",
            "RATE_LIMIT": "1000000/second",
            # we kill innocent steps at random, some of them thrice
            "POISON_STEP": "1000",
            "LOG_FORMAT": "json",
        }
        if self.mutation:
            path = os.pathsep.join([str(_MUTATION), os.environ.get("PYTHONPATH", "")])
            environ |= {"PYTHONPATH": path, "CHAOS_MUTATION": self.mutation}
        return environ


@dataclass(frozen=True)
class Outcome:
    """What a run found; no violations is the proof."""

    accepted: Sequence[Accepted]
    faults: Sequence[Fault]
    figures: Figures
    violations: Sequence[Violation] = field(default_factory=list)


def run(conditions: Conditions) -> Outcome:
    """Run chaos once and audit it. Nothing of it is left, but what the outcome calls a violation."""
    with tempfile.TemporaryDirectory(prefix="octollm-chaos-") as folder, FakeLLM() as fake:
        home = Path(folder)
        with Ground(home / "servers") as ground:
            stack = Stack(
                home / "stack",
                port=0,
                environ=conditions.environ(fake) | ground.addresses,
                processes={**ONE_OF_EACH, "executor": 2, "retriever": 2},
            )
            with stack:
                calm, accepted, faults = _suffer(stack, ground, conditions)
                left = _left_in_broker(ground)
                ended = {pid for fault in faults for pid in fault.pids}
                ended |= {pid for main in stack.pids() for pid in victims.with_descendants(main)}
            left += [*leftovers.processes(str(stack.home), ended), *leftovers.directories(ended)]
            violations = audit(
                ground.engine,
                accepted,
                calm=calm,
                lease_seconds=conditions.lease_seconds,
                is_stopped=True,
            )
            figures = read_figures(ground, faults, logs=stack.home / "log")
    return Outcome(accepted, faults, figures, [*violations, *left])


def _suffer(
    stack: Stack, ground: Ground, conditions: Conditions
) -> tuple[list[str], list[Accepted], list[Fault]]:
    """Run tasks in calm, then under faults, then wait for the end of all; return (calm ids, accepted, faults)."""
    chance = random.Random(conditions.seed)
    arsenal = Arsenal(
        stack,
        ground,
        chance=random.Random(chance.getrandbits(32)),
        zombie_seconds=1.5 * conditions.lease_seconds,
    )
    load = Load(
        client_of(stack),
        random.Random(chance.getrandbits(32)),
        count_open=lambda: count_open(ground),
        most=conditions.open_tasks,
        longest_wait_seconds=2.0,
    )
    calm = [load.submit(wanted).task_id for wanted in _calm()]
    _wait_for_end(ground, 60)
    load.start()
    with _beside(chance, arsenal.raise_zombie, arsenal.duplicate_messages):
        _commit(arsenal, random.Random(chance.getrandbits(32)), seconds=conditions.seconds)
    load.stop()
    _wait_for_end(ground, DRAIN_SECONDS)
    return calm, load.accepted, arsenal.committed


def _calm() -> Iterator[Wanted]:
    """Yield a few tasks of different shapes, always the same ones."""
    chance = random.Random(0)
    for _ in range(CALM_TASKS):
        yield graphs.draw_graph(chance, steps=8)


def _commit(arsenal: Arsenal, chance: random.Random, *, seconds: float) -> None:
    """Commit quick faults one after the other, each kind as often as the others, in random order."""
    until = time.monotonic() + seconds
    bag: list[str] = []
    while time.monotonic() < until:
        bag = bag or chance.sample(sorted(arsenal.quick), k=len(arsenal.quick))
        arsenal.quick[bag.pop()]()
        time.sleep(chance.uniform(0.3, 2.5))


@contextlib.contextmanager
def _beside(chance: random.Random, *faults: Callable[[], None]) -> Iterator[None]:
    """Commit each of the faults again and again beside the block, whatever else goes on; all are over after it."""
    over = threading.Event()

    def repeat(fault: Callable[[], None], pauses: random.Random) -> None:
        while not over.wait(pauses.uniform(1, 5)):
            fault()

    threads = [
        threading.Thread(target=repeat, args=(fault, random.Random(chance.getrandbits(32))), daemon=True)
        for fault in faults
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _wait_for_end(ground: Ground, seconds: float) -> None:
    """Wait until no task is open and no chord waits; what still is after `seconds` the audit will tell."""
    with contextlib.suppress(AssertionError):
        wait_until(
            lambda: count_open(ground) == 0 and not _unfired(ground), seconds, "the end of all", every=0.2
        )


def _left_in_broker(ground: Ground) -> list[Violation]:
    """Give the workers a moment to refuse what is delivered twice, then say what is left."""

    def left() -> list[Violation]:
        with ground.broker() as broker:
            return [*leftovers.messages(broker, ground.ask), *leftovers.keys(broker)]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), 30, "an empty broker", every=0.5)
    return left()


def client_of(stack: Stack) -> Client:
    """Return a client of the stack with every scope."""
    chosen = settings.load(stack.environ)
    return Client(stack.url, credential.sign_token(chosen, tenant="chaos", key_id="chaos", scopes=SCOPES))


def count_open(ground: Ground) -> int:
    """Return how many tasks have not ended."""
    return int(ground.ask("SELECT count(*) AS open FROM tasks WHERE finished_at IS NULL")[0]["open"])


def _unfired(ground: Ground) -> bool:
    return bool(ground.ask("SELECT FROM chords WHERE state = 'ready' LIMIT 1"))
