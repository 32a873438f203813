"""Measures the result cache: its ceiling, its hit rate, and that it serves no wrong result.

`drive` sends a seeded stream of requests (bench/workload) through Orchestrator.submit on real servers, and executes the
tasks that have to run. Time is virtual: Postgres' now() and the TTLs in Valkey follow the time of each request, so the
TTL of an hour expires three times. The first 40 % of the requests are the warm-up and are not measured. The source of
each result is read from Postgres afterwards. Ceiling: the share that a perfect cache would serve, which knows the
classes and has the same TTL. Capture: the share of the ceiling that was reached. Reused steps are no hits.
`alias` (only on request) is the same with a perfect judge of similar tasks (bench/support/oracle.py). `lookup` times
the exact lookup among 100,000 entries. `table` (only on request) prints the hit rates of exact keys for other sizes,
Zipf exponents and phrasings, with a dictionary in place of the servers.

    python bench/cache.py [drive] [alias] [lookup] [table] [--requests N] [--seed N]

Exit status 0 if no hit was wrong and the targets are met.
"""

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Final

from bench.support.cache_drive import SERVICE_SECONDS, Drive
from bench.support.cache_figures import after_warm_up, report
from bench.support.cache_lookup import quantiles, time_lookups
from bench.support.oracle import Oracle
from bench.support.virtual_clock import VirtualClock
from bench.workload import dictionary
from bench.workload.outcome import ordinary, shares
from bench.workload.stream import Mix, stream
from orchestrator import bootstrap
from orchestrator import settings as settings_module
from orchestrator.chord.database import open_engine
from orchestrator.devserver import servers
from orchestrator.memory import migrate
from orchestrator.settings import Settings
from tests.integration.cache.kit import Company

TTL_SECONDS: Final = 3600
TTLS: Final = 3.1
RATES: Final = (1, 2)
PER_SECOND: Final = 2.0
_PLAIN_SHARE: Final = 0.85


def main() -> int:
    """Run the requested parts; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="drive|alias|lookup|table")
    parser.add_argument(
        "--requests", type=int, help="requests of the drive; default: as many as arrive in three TTLs"
    )
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    parts = asked.parts or ["drive", "lookup"]
    if unknown := set(parts) - {"drive", "alias", "lookup", "table"}:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    met = []
    if "drive" in parts:
        met.append(drive(asked.seed, requests=asked.requests))
    if "alias" in parts:
        met.append(drive(asked.seed, requests=asked.requests, judged=True))
    if "lookup" in parts:
        with real_servers() as settings:
            met.append(time_lookups(settings, seed=asked.seed))
    if "table" in parts:
        table(asked.seed)
    return 0 if all(met) else 1


def drive(seed: int, *, requests: int | None, judged: bool = False) -> bool:
    """Drive real servers with 2,000 tasks, Zipf 1.0, 70 % fixed phrasing; return whether the targets are met."""
    mix = mix_of(tasks=2000, zipf=1.0, fixed=0.7, seed=seed, requests=requests)
    asked = list(stream(mix))
    with real_servers() as real, ExitStack() as ending:
        clock = ending.enter_context(closing(VirtualClock(real.database_url, real.redis_url)))
        migrate.upgrade(clock.database_url)
        engine = open_engine(clock.database_url)
        ending.callback(engine.dispose)
        oracle = ending.enter_context(Oracle(asked)) if judged else None
        company = Company(engine, replace(real, database_url=clock.database_url), oracle)
        # with a model configured, goals that fit no recipe are accepted
        orchestrator = bootstrap.for_api(replace(company.settings, openai_api_key="k"))
        ending.callback(orchestrator.engine.dispose)
        driven = Drive(orchestrator, company, clock)
        started = time.monotonic()
        outcomes = driven.run(asked)
        seconds, model_calls = time.monotonic() - started, driven.model_calls
    print(
        f"{mix.requests} requests for {mix.tasks} tasks, Zipf {mix.zipf:g}, {mix.fixed:.0%} fixed phrasing, "
        f"seed {seed}: {mix.per_second:g} ordinary ones a second, {asked[-1].at / TTL_SECONDS:.1f} TTLs, "
        f"in {seconds:.0f} s; {'a perfect judge' if judged else 'no judge'}"
    )
    for name, times in (
        ("answered at once", driven.hit_seconds),
        ("to run or to follow", driven.miss_seconds),
    ):
        p50, p95 = quantiles(times)
        print(f"Orchestrator.submit, {name}: P50 {p50:.1f} ms, P95 {p95:.1f} ms")
    return report(outcomes, model_calls=model_calls)


def table(seed: int) -> None:
    """Print the ceiling and the hit rate of exact keys for ordinary requests."""
    print(
        f"{'tasks':>6} {'Zipf':>5} {'fixed':>6}",
        *(f"{f'{rate}/s: ceiling':>13} {'hit rate':>9}" for rate in RATES),
    )
    for tasks, zipf, fixed in product((500, 2000, 10_000), (0.6, 0.8, 1.0), (1.0, 0.7, 0.0)):
        figures = []
        for per_second in RATES:
            mix = mix_of(tasks=tasks, zipf=zipf, fixed=fixed, seed=seed, per_second=per_second)
            outcomes = dictionary.answer(
                list(stream(mix)), ttl_seconds=TTL_SECONDS, service_seconds=SERVICE_SECONDS
            )
            found = shares(ordinary(after_warm_up(outcomes)))
            figures.append(f"{found.ceiling:>13.3f} {found.hit_rate:>9.3f}")
        print(f"{tasks:>6} {zipf:>5.1f} {fixed:>6.1f}", *figures, flush=True)


def mix_of(
    *,
    tasks: int,
    zipf: float,
    fixed: float,
    seed: int,
    per_second: float = PER_SECOND,
    requests: int | None = None,
) -> Mix:
    """Return the mix of a stream that lasts TTLS times the TTL."""
    enough = round(TTLS * TTL_SECONDS * per_second / _PLAIN_SHARE)
    return Mix(
        requests=requests or enough, tasks=tasks, zipf=zipf, fixed=fixed, per_second=per_second, seed=seed
    )


@contextmanager
def real_servers() -> Iterator[Settings]:
    """Run an empty Postgres (fsync off) and an empty Valkey; yield settings that use them."""
    with (
        tempfile.TemporaryDirectory(prefix="octollm-bench-") as folder,
        servers.start(Path(folder), durable=False, environ={}) as running,
    ):
        yield settings_module.load(
            {
                "OCTOLLM_HOME": folder,
                "DATABASE_URL": running.database_url,
                "REDIS_URL": running.redis_url,
                "JWT_SECRET": secrets.token_urlsafe(48),
                "CACHE_TTL": str(TTL_SECONDS),
            }
        )


if __name__ == "__main__":
    sys.exit(main())
