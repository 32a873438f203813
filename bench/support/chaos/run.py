"""One chaos run: a stack, a stream of tasks, faults at random times, then a quiet phase and the audit."""

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
from bench.support.chaos.harness import Harness
from bench.support.chaos.load import Accepted, Load
from bench.support.chaos.person import Person
from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.acceptance.client import Client
from tests.fake_llm.server import FakeLLM
from tests.ledger import ARMS_PATH, LEDGERS, Ledger, registered
from tests.waiting import wait_until

DRAIN_SECONDS: Final = 240.0
CALM_TASKS: Final = 4
_MUTATION: Final = Path(__file__).parent / "mutation"


@dataclass(frozen=True)
class Conditions:
    """The parameters of a run. `mutation` names a defect that is injected into every process."""

    seed: int
    seconds: float
    lease_seconds: float
    heartbeat_seconds: float
    open_tasks: int = 12
    mutation: str = ""

    @property
    def zombie_seconds(self) -> float:
        """Return how long a zombie is stopped: longer than a lease."""
        return 1.5 * self.lease_seconds

    def environ(self, fake: FakeLLM, ledger: Ledger) -> dict[str, str]:
        """Return the stack's environment; other settings have their defaults."""
        environ = {
            "LEASE_SECONDS": f"{self.lease_seconds:g}",
            "HEARTBEAT_SECONDS": f"{self.heartbeat_seconds:g}",
            "OPENAI_API_KEY": "chaos",
            "OPENAI_BASE_URL": fake.openai_url,
            "LLM_CHAIN": "openai:fake-model",
            "RATE_LIMIT": "1000000/second",
            # chaos kills healthy steps at random, some of them three times
            "POISON_STEP": "1000",
            "LOG_FORMAT": "json",
            "ARMS_PATH": str(ARMS_PATH),
            "OCTOLLM_LEDGER": str(ledger.path),
        }
        return environ | mutation_of(self.mutation)


def mutation_of(name: str) -> dict[str, str]:
    """Return the environment that injects a defect into every process; {} without a name."""
    path = os.pathsep.join([str(_MUTATION), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "CHAOS_MUTATION": name} if name else {}


@dataclass(frozen=True)
class Outcome:
    """The result of a run; it passes without violations."""

    accepted: Sequence[Accepted]
    faults: Sequence[Fault]
    figures: Figures
    violations: Sequence[Violation] = field(default_factory=list)


def run(conditions: Conditions) -> Outcome:
    """Run chaos once and audit it; afterwards nothing runs, except what the outcome reports as a violation."""
    with tempfile.TemporaryDirectory(prefix="octollm-chaos-") as folder, FakeLLM() as fake:
        home = Path(folder)
        ledger = Ledger(home / "ledger")
        with Harness(home / "servers") as harness:
            stack = Stack(
                home / "stack",
                port=0,
                environ=conditions.environ(fake, ledger) | harness.addresses,
                processes={**ONE_OF_EACH, "executor": 2, "retriever": 2, **dict.fromkeys(LEDGERS, 1)},
            )
            with contextlib.ExitStack() as ending:
                with registered(*LEDGERS):
                    ending.enter_context(stack)
                # two look at the same list, so that they decide the same approvals at the same time
                with _person(stack, ledger, conditions), _person(stack, ledger, conditions):
                    calm, accepted, faults = _suffer(stack, harness, conditions)
                left = _left_in_broker(harness)
                ended = {pid for fault in faults for pid in fault.pids}
                ended |= {pid for main in stack.pids() for pid in victims.with_descendants(main)}
            left += [*leftovers.processes(str(stack.home), ended), *leftovers.directories(ended)]
            violations = audit(
                harness.engine,
                accepted,
                calm=calm,
                effects=ledger.lines(),
                lease_seconds=conditions.lease_seconds,
                is_stopped=True,
            )
            figures = read_figures(harness, faults, logs=stack.home / "log")
    return Outcome(accepted, faults, figures, [*violations, *left])


def _person(stack: Stack, ledger: Ledger, conditions: Conditions) -> Person:
    """Return whoever decides: a zombie that goes on has written long before this person lets its step run again."""
    return Person(client_of(stack), ledger, patience_seconds=2 * conditions.zombie_seconds)


def _suffer(
    stack: Stack, harness: Harness, conditions: Conditions
) -> tuple[list[str], list[Accepted], list[Fault]]:
    """Run tasks without faults, then with faults, then wait until all end; return (calm ids, accepted, faults)."""
    chance = random.Random(conditions.seed)
    arsenal = Arsenal(
        stack,
        harness,
        chance=random.Random(chance.getrandbits(32)),
        zombie_seconds=conditions.zombie_seconds,
    )
    load = Load(
        client_of(stack),
        random.Random(chance.getrandbits(32)),
        count_open=lambda: count_open(harness),
        most=conditions.open_tasks,
        longest_wait_seconds=2.0,
    )
    calm = [load.submit(wanted).task_id for wanted in _calm()]
    _wait_for_end(harness, 60)
    load.start()
    with _beside(chance, arsenal.raise_zombie, arsenal.duplicate_messages):
        _commit(arsenal, random.Random(chance.getrandbits(32)), seconds=conditions.seconds)
    load.stop()
    _wait_for_end(harness, DRAIN_SECONDS)
    return calm, load.accepted, arsenal.committed


def _calm() -> Iterator[Wanted]:
    """Yield a few tasks of different shapes, the same in each run."""
    chance = random.Random(0)
    for _ in range(CALM_TASKS):
        yield graphs.draw_graph(chance, steps=8)


def _commit(arsenal: Arsenal, chance: random.Random, *, seconds: float) -> None:
    """Inject the faults one after the other, each kind equally often, in random order."""
    until = time.monotonic() + seconds
    bag: list[str] = []
    while time.monotonic() < until:
        bag = bag or chance.sample(sorted(arsenal.quick), k=len(arsenal.quick))
        arsenal.quick[bag.pop()]()
        time.sleep(chance.uniform(0.3, 2.5))


@contextlib.contextmanager
def _beside(chance: random.Random, *faults: Callable[[], None]) -> Iterator[None]:
    """Inject each of the faults repeatedly while the block runs; all have ended after it."""
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


def _wait_for_end(harness: Harness, seconds: float) -> None:
    """Wait at most `seconds` until no task is open and no chord waits; the audit reports what is left."""
    with contextlib.suppress(AssertionError):
        wait_until(
            lambda: count_open(harness) == 0 and not _unfired(harness), seconds, "the end of all", every=0.2
        )


def _left_in_broker(harness: Harness) -> list[Violation]:
    """Wait a moment for the workers to drop duplicates, then return what is left in the broker."""

    def left() -> list[Violation]:
        with harness.broker() as broker:
            return [*leftovers.messages(broker), *leftovers.keys(broker)]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), 30, "an empty broker", every=0.5)
    return left()


def client_of(stack: Stack) -> Client:
    """Return a client of the stack with every scope."""
    chosen = settings.load(stack.environ)
    return Client(stack.url, credential.sign_token(chosen, tenant="chaos", key_id="chaos", scopes=SCOPES))


def count_open(harness: Harness) -> int:
    """Return how many tasks have not ended."""
    return int(harness.ask("SELECT count(*) AS open FROM tasks WHERE finished_at IS NULL")[0]["open"])


def _unfired(harness: Harness) -> bool:
    return bool(harness.ask("SELECT FROM chords WHERE state = 'ready' LIMIT 1"))
