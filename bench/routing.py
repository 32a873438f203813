"""Measures routing: from a plan in hand to its root steps published, 50 tasks at once on a whole stack.

Postgres with fsync; one process of each kind, as `octollm up` runs it. The figure is octollm_routing_seconds, as
/metrics shows it, interpolated inside its buckets like Prometheus' histogram_quantile. Five bursts, median.
Exit status 0 if the median P95 is under the target of 100 ms.
"""

import re
import statistics
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect

BURSTS: Final = 5
TASKS: Final = 50
TARGET_SECONDS: Final = 0.1
_BUCKET = re.compile(r'^octollm_routing_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)

PLAN: Final = {
    "steps": [
        *(collect(f"root{n}", n) for n in range(4)),
        collect("join", 0, *(f"root{n}" for n in range(4))),
    ]
}


def main() -> int:
    """Run the bursts and print the figures."""
    with (
        tempfile.TemporaryDirectory(prefix="octollm-bench-") as folder,
        Stack(Path(folder), port=0, environ={"RATE_LIMIT": "100000/second"}) as stack,
    ):
        token = credential.sign_token(
            settings.load(stack.environ), tenant="bench", key_id="bench", scopes=SCOPES
        )
        client = Client(stack.url, token)
        client.run(plan=PLAN)
        figures = [burst(client) for _ in range(BURSTS)]
    print(f"{'burst':>5} {'P50 ms':>8} {'P95 ms':>8} {'tasks/s':>8}")
    for number, (p50, p95, rate) in enumerate(figures, start=1):
        print(f"{number:>5} {p50 * 1000:>8.1f} {p95 * 1000:>8.1f} {rate:>8.1f}")
    p95 = statistics.median(figure[1] for figure in figures)
    print(f"median P95 {p95 * 1000:.1f} ms, target under {TARGET_SECONDS * 1000:g} ms, {TASKS} tasks at once")
    return 0 if p95 < TARGET_SECONDS else 1


def burst(client: Client) -> tuple[float, float, float]:
    """Submit TASKS at once and wait until they end; return P50 and P95 in seconds, and tasks per second."""
    before = buckets(client)
    started = time.monotonic()
    with ThreadPoolExecutor(TASKS) as pool:
        ids = list(pool.map(lambda _: client.submit(plan=PLAN), range(TASKS)))
    for task_id in ids:
        assert client.end_of(task_id)["status"] == "completed"
    seconds = time.monotonic() - started
    counts = {edge: count - before[edge] for edge, count in buckets(client).items()}
    return quantile(counts, 0.5), quantile(counts, 0.95), TASKS / seconds


def buckets(client: Client) -> dict[float, float]:
    """Return {upper edge in seconds: cumulated count}."""
    with urllib.request.urlopen(f"{client.url}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return {float(edge): float(count) for edge, count in _BUCKET.findall(text)}


def quantile(counts: dict[float, float], share: float) -> float:
    """Return the value below which `share` of the observations lie, linear inside its bucket."""
    wanted = share * max(counts.values())
    lower, below = 0.0, 0.0
    for edge, count in sorted(counts.items()):
        if count >= wanted and count > below:
            return (
                lower if edge == float("inf") else lower + (edge - lower) * (wanted - below) / (count - below)
            )
        lower, below = edge, count
    return lower


if __name__ == "__main__":
    sys.exit(main())
