"""Kills workers, children of a pool and Postgres around writes that must not happen twice; counts the effects outside.

Each round submits a few writes, and at a random moment sends SIGKILL to one victim. An effect is a line in a file. What
is unknown is asked; a person is played who looks into the file for the idempotency key, twice, and then accepts what is
there or lets the step run again. Exit status 0 if no effect happened twice or was lost, and each unknown one was asked.
"""

import argparse
import logging
import math
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from bench.support.chaos import victims
from bench.support.chaos.harness import Harness
from bench.support.chaos.person import Person
from bench.support.chaos.run import client_of, mutation_of
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from tests.acceptance.client import FINAL
from tests.ledger import ARMS_PATH, LEDGERS, Ledger, append, registered
from tests.waiting import wait_until

WRITES: Final = 4
"""Writes in a round; every second one runs in a prefork pool."""
LEASE_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 0.4
"""An action takes at most this before its line, and at most this after it."""
ROUND_SECONDS: Final = 120.0
_FOUND: Final = """
SELECT s.id, s.attempt, t.status, t.error ->> 'code' AS code,
    (SELECT count(*) FROM approvals a WHERE a.step_id = s.id AND a.kind = 'outcome') AS asked,
    (SELECT count(*) FROM approvals a WHERE a.step_id = s.id AND a.state = 'withdrawn') AS answered_late,
    (SELECT count(*) FROM events e WHERE e.task_id = t.id AND e.type = 'step.outcome_unknown') AS unknown
FROM steps s
JOIN tasks t ON t.id = s.task_id
WHERE s.kind = 'step' AND s.arm LIKE 'ledger%%'
"""


@dataclass
class Scene:
    """The running product, the file outside of it, and what was done to it."""

    stack: Stack
    harness: Harness
    person: Person
    ledger: Ledger
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def round(self, number: int) -> None:
        """Submit writes, kill something around them, and decide what is asked until all have ended."""
        tasks = [self._submit(f"r{number}-{index}", LEDGERS[index % len(LEDGERS)]) for index in range(WRITES)]
        time.sleep(self.chance.uniform(0, 1.2))
        name, kill = self.chance.choice(list(self._faults().items()))
        kill()
        self.kills[name] += 1
        wait_until(lambda: self._have_ended(tasks), ROUND_SECONDS, f"the end of round {number}", every=0.1)

    def _faults(self) -> Mapping[str, Callable[[], None]]:
        return {"worker": self._kill_worker, "child": self._kill_child, "postgres": self._kill_postgres}

    def _kill_worker(self) -> None:
        pids = self.stack.pids(self.chance.choice(LEDGERS))
        for pid in [one for main in pids for one in victims.with_descendants(main)]:
            victims.send(pid, signal.SIGKILL)

    def _kill_child(self) -> None:
        children = [child for pid in self.stack.pids("ledger-fork") for child in victims.pool_children(pid)]
        if children:
            victims.send(self.chance.choice(children), signal.SIGKILL)

    def _kill_postgres(self) -> None:
        self.harness.kill_postgres(away_seconds=self.chance.uniform(0, 1))

    def _submit(self, name: str, arm: str) -> str:
        took: dict[str, Any] = {
            when: self.chance.uniform(0, LONGEST_SECONDS) for when in ("seconds_before", "seconds_after")
        }
        body = {"goal": "write it down", "plan": {"steps": [append(name, arm=arm, **took)]}}
        key = {"Idempotency-Key": f"effects-{name}"}
        answer = wait_until(lambda: self.person.call("POST", "/v1/tasks", body, headers=key), 60, "the API")
        return str(answer["task_id"])

    def _have_ended(self, tasks: list[str]) -> bool:
        """Decide what is asked; return whether all tasks have ended."""
        self.person.attend()
        found = [self.person.call("GET", f"/v1/tasks/{task_id}") for task_id in tasks]
        return all(task is not None and task["status"] in FINAL for task in found)


def main() -> int:
    """Run the rounds and print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    print(f"SEED={seed} ROUNDS={arguments.rounds} make effects", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="octollm-effects-") as folder,
        Harness(Path(folder) / "servers") as harness,
    ):
        ledger = Ledger(Path(folder) / "ledger")
        environ = {
            "ARMS_PATH": str(ARMS_PATH),
            "OCTOLLM_LEDGER": str(ledger.path),
            "LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "HEARTBEAT_SECONDS": "0.5",
            "RATE_LIMIT": "1000000/second",
            # the same step may be hit by several kills
            "POISON_STEP": "1000",
        }
        kinds = {**dict.fromkeys(("web", "planner", "judge", "sweeper"), 1), **dict.fromkeys(LEDGERS, 1)}
        assert kinds.keys() - ONE_OF_EACH.keys() == set(LEDGERS)
        stack = Stack(
            Path(folder) / "stack",
            port=0,
            environ=environ | harness.addresses | mutation_of("mark" if arguments.unmarked else ""),
            processes={**ONE_OF_EACH, **kinds},
        )
        with registered(*LEDGERS):
            stack.start()
        try:
            person = Person(client_of(stack), ledger, patience_seconds=3 * LONGEST_SECONDS)
            scene = Scene(stack, harness, person, ledger, random.Random(seed))
            until = time.monotonic() + arguments.seconds
            number = 0
            while number < arguments.rounds and time.monotonic() < until:
                number += 1
                scene.round(number)
            return _report(scene, rounds=number)
        finally:
            stack.stop()


def _report(scene: Scene, *, rounds: int) -> int:
    """Print the figures; return the exit status."""
    lines = Counter(line.key for line in scene.ledger.lines())
    last = {line.key: line.attempt for line in scene.ledger.lines()}
    rows = scene.harness.ask(_FOUND)
    twice = [key for key, count in lines.items() if count > 1]
    missing = [row["id"] for row in rows if row["status"] == "completed" and not lines[row["id"]]]
    failed = [f"{row['id']} {row['code']}" for row in rows if row["status"] != "completed"]
    # the step was begun again after its line, and nobody was asked
    unasked = [row["id"] for row in rows if last.get(row["id"], 10**9) < row["attempt"] and not row["asked"]]
    unasked += [row["id"] for row in rows if row["asked"] != row["unknown"]]
    print("kills: " + ", ".join(f"{name} {count}" for name, count in sorted(scene.kills.items())))
    print(
        "decided: " + ", ".join(f"{verb} {count}" for verb, count in sorted(scene.person.decisions.items()))
    )
    print(
        f"rounds {rounds}  writes {len(rows)}  effects {len(lines)}  twice {len(twice)}  missing {len(missing)}  "
        f"unknown {sum(row['unknown'] for row in rows)}  asked {sum(row['asked'] for row in rows)}  "
        f"answered late {sum(row['answered_late'] for row in rows)}  unasked {len(unasked)}  failed {len(failed)}"
    )
    for name, found in (("twice", twice), ("missing", missing), ("unasked", unasked), ("failed", failed)):
        for one in found[:5]:
            print(f"  {name}: {one}")
    return 1 if twice or missing or unasked or failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="how many rounds, one kill each")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no round after this time")
    parser.add_argument("--unmarked", action="store_true", help="break the product: it must then fail")
    parser.add_argument("--seed", type=int, help="of all that is random; printed, to be given again")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
