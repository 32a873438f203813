"""Measures POST /v1/tasks over 50 kept connections: open loop at 50, 100 and 200 requests/s, then closed loop.

A whole stack as `octollm up` runs it, Postgres with fsync. A task has a plan of one step that collects a number: the
workers that run and judge it share the machine with the API and this client. First, one task at a time is followed by
a long poll. Open loop: arrivals are random
(Poisson) and latency counts from the arrival, not from the sending, so a slow answer delays the next ones. CPU is
that of the API's processes only. Exit status 0 if P95 at 100/s is under 100 ms.

    python bench/api.py [seconds for each run, 15 by default]
"""

import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import Stack

CONNECTIONS: Final = 50
RATES: Final = (50, 100, 200)
TARGET_RATE: Final = 100
TARGET_SECONDS: Final = 0.1
WARM_UP_REQUESTS: Final = 100
PLAN: Final = {"steps": [{"id": "a", "arm": "retriever", "action": "collect", "inputs": {"values": [1]}}]}
BODY: Final = json.dumps({"goal": "Collect a number", "plan": PLAN, "priority": "low"})
FOLLOWED: Final = 100
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """The figures of a run; times in seconds."""

    name: str
    latencies: list[float]
    errors: int
    seconds: float
    cpu_seconds: float

    def line(self) -> str:
        ordered = sorted(self.latencies)
        p50, p95, p99 = (1000 * ordered[int(len(ordered) * share)] for share in (0.5, 0.95, 0.99))
        rate, cpu = len(ordered) / self.seconds, 1000 * self.cpu_seconds / len(ordered)
        return (
            f"{self.name:>12} {rate:>8.1f} {p50:>8.1f} {p95:>8.1f} {p99:>8.1f} {cpu:>11.2f} {self.errors:>7}"
        )

    @property
    def p95(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.95)]


class Caller:
    """Sends requests over one connection."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def submit(self) -> bool:
        """Submit a task; return whether it was accepted."""
        return self._send("POST", "/v1/tasks", BODY)[0] == 202

    def follow(self) -> float:
        """Submit a task and wait for it by a long poll; return the seconds from its end to the reply.

        The end's time is the start of the statement that committed it, by Postgres' clock, which is this machine's.
        """
        _, accepted = self._send("POST", "/v1/tasks", BODY)
        _, task = self._send("GET", f"/v1/tasks/{accepted['task_id']}?wait=30")
        return time.time() - datetime.fromisoformat(task["completed_at"]).timestamp()

    def _send(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        self._connection.request(method, path, body, self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def main() -> int:
    """Run all and print a table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15.0
    with (
        tempfile.TemporaryDirectory(prefix="octollm-bench-") as folder,
        Stack(
            Path(folder), port=0, environ={"RATE_LIMIT": "1000000/second", "LOG_LEVEL": "warning"}
        ) as stack,
    ):
        token = credential.sign_token(
            settings.load(stack.environ), tenant="bench", key_id="bench", scopes=SCOPES
        )
        callers = [Caller(stack.port, token) for _ in range(CONNECTIONS)]
        for _, caller in zip(range(WARM_UP_REQUESTS), callers * 2, strict=True):
            caller.submit()
        # those submitted before end first
        callers[0].follow()
        told = sorted(callers[0].follow() for _ in range(FOLLOWED))
        print(
            f"from a task's end to the reply of a long poll, one at a time: P50 {1000 * told[FOLLOWED // 2]:.1f} ms, "
            f"P95 {1000 * told[FOLLOWED * 95 // 100]:.1f} ms"
        )
        print(
            f"{'':>12} {'req/s':>8} {'P50 ms':>8} {'P95 ms':>8} {'P99 ms':>8} {'CPU ms/req':>11} {'errors':>7}"
        )
        runs = []
        for rate in RATES:
            runs.append(measure(stack, callers, f"open {rate}/s", arrivals(rate, seconds)))
            print(runs[-1].line(), flush=True)
        runs.append(measure(stack, callers, "closed", endless(seconds)))
        print(runs[-1].line(), flush=True)
    target = runs[RATES.index(TARGET_RATE)]
    print(f"P95 at {TARGET_RATE}/s {1000 * target.p95:.1f} ms, target under {1000 * TARGET_SECONDS:g} ms")
    return 0 if target.p95 < TARGET_SECONDS and not target.errors else 1


def arrivals(rate: int, seconds: float) -> Iterator[float]:
    """Yield times of random arrivals, starting now."""
    at, end = time.monotonic(), time.monotonic() + seconds
    chance = random.Random(rate)
    while (at := at + chance.expovariate(rate)) < end:
        yield at


def endless(seconds: float) -> Iterator[float]:
    """Yield the current time on each call until the time is over."""
    end = time.monotonic() + seconds
    for _ in count():
        if (now := time.monotonic()) >= end:
            return
        yield now


def measure(stack: Stack, callers: list[Caller], name: str, times: Iterator[float]) -> Run:
    """Let the callers take arrivals in turn and send each at its time."""
    latencies: list[float] = []
    refused: list[float] = []
    lock = threading.Lock()

    def work(caller: Caller) -> None:
        while True:
            with lock:
                at = next(times, None)
            if at is None:
                return
            time.sleep(max(0.0, at - time.monotonic()))
            accepted = caller.submit()
            (latencies if accepted else refused).append(time.monotonic() - at)

    started, cpu = time.monotonic(), cpu_of_api(stack)
    threads = [threading.Thread(target=work, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Run(name, latencies, len(refused), time.monotonic() - started, cpu_of_api(stack) - cpu)


def cpu_of_api(stack: Stack) -> float:
    """Return the CPU seconds of gunicorn and its children so far."""
    masters = set(stack.pids("web"))
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) in masters or int(fields[1]) in masters:
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


if __name__ == "__main__":
    sys.exit(main())
