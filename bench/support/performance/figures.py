"""Turns the runs of bench/task.py into figures: JSON for the record, a table for the terminal."""

import os
import platform
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.support.performance.costs import Counts, Statements
from bench.support.performance.driver import ROOT, Drive

_PACKAGES: Final = ("celery", "kombu", "sqlalchemy", "psycopg2-binary", "redis", "flask", "gunicorn")
_TOTAL: Final = "total"

Taken = Mapping[tuple[str, str, int], Sequence[Mapping[str, Any]]]


def of_run(drive: Drive, used: Counts, *, count: int) -> dict[str, Any]:
    """Return the figures of one run of `count` plans; times in milliseconds, costs a plan."""
    cpu = {kind: spent / count for kind, spent in used.cpu_ms.items()}
    return {
        **_quantiles("client", drive.client_ms),
        **_quantiles("server", drive.server_ms),
        "per_second": count / drive.seconds,
        "cpu_ms": {_TOTAL: sum(cpu.values()), **cpu},
        "wal_bytes": used.wal_bytes / count,
        "writing_transactions": used.transactions_that_write / count,
        "redis_commands": {
            _TOTAL: used.redis_commands.total() / count,
            **{name: calls / count for name, calls in used.redis_commands.most_common()},
        },
    }


def of_statements(
    found: Statements, at_rest: Statements, *, share: float, count: int
) -> dict[str, dict[str, float]]:
    """Return statements, commits and round trips of one plan by user; `share` of the rest's are taken off."""

    def net(during: Counter[str], idle: Counter[str]) -> dict[str, float]:
        each = {user: max(0.0, (calls - share * idle[user]) / count) for user, calls in during.items()}
        return {_TOTAL: sum(each.values()), **each}

    return {
        "statements": net(found.sent, at_rest.sent),
        "commits": net(found.commits, at_rest.commits),
        "round_trips": net(found.round_trips, at_rest.round_trips),
    }


def results(
    taken: Taken,
    counted: Mapping[str, Any],
    idle: Mapping[str, float],
    *,
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """Return everything as one JSON object; a figure is the median of the runs."""
    return {
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            **versions,
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "figures": [
            {
                "subject": subject,
                "plan": plan,
                "in_flight": in_flight,
                "runs": len(runs),
                **_median(runs),
                **(counted.get(subject, {}) if (plan, in_flight) == ("fan8", 1) else {}),
            }
            for (subject, plan, in_flight), runs in sorted(taken.items(), key=lambda one: one[0])
        ],
        "idle_cpu_ms_per_second": dict(idle),
    }


def table(found: Mapping[str, Any]) -> str:
    """Return the figures as lines for a terminal."""
    head = (
        f"{'':22} {'plan':8} {'in flight':>9} {'P50 ms':>8} {'P95 ms':>8} {'server P50':>10} {'P95':>8} {'per s':>7} "
        f"{'CPU ms':>7} {'WAL kB':>7} {'redis':>6}"
    )
    lines = [head, *map(_row, found["figures"]), ""]
    for one in found["figures"]:
        if "statements" in one:
            lines += _details(one)
    lines.append(f"{'at rest':22} CPU ms a second {_spread(found['idle_cpu_ms_per_second'])}")
    load = " ".join(f"{one:.1f}" for one in found["machine"]["load"])
    lines.append(f"commit {found['commit']}{' and changes' if found['changed'] else ''}, load {load}")
    return "\n".join(lines)


def _details(one: Mapping[str, Any]) -> list[str]:
    """Return lines that say who sent what for one plan of fan8, and what it cost whom."""
    parts = ("statements", "commits", "round_trips", "redis_commands", "cpu_ms")
    first, *rest = (f"{part} {_spread(one[part])}" for part in parts)
    return [f"{one['subject']:22} {first}", *(f"{'':22} {line}" for line in rest)]


def _row(one: Mapping[str, Any]) -> str:
    return (
        f"{one['subject']:22} {one['plan']:8} {one['in_flight']:>9} {one['client_p50_ms']:>8.1f} "
        f"{one['client_p95_ms']:>8.1f} {one.get('server_p50_ms', float('nan')):>10.1f} "
        f"{one.get('server_p95_ms', float('nan')):>8.1f} {one['per_second']:>7.1f} "
        f"{one['cpu_ms'][_TOTAL]:>7.1f} {one['wal_bytes'] / 1000:>7.1f} {one['redis_commands'][_TOTAL]:>6.1f}"
    )


def _spread(figures: Mapping[str, float]) -> str:
    ordered = sorted(figures.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {value:.1f}" for name, value in ordered if value >= 0.05)


def _quantiles(name: str, times: Sequence[float]) -> dict[str, float]:
    if not times:
        return {}
    ordered = sorted(times)
    return {
        f"{name}_p50_ms": statistics.median(ordered),
        f"{name}_p95_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
    }


def _median(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure, also inside of mappings."""
    found: dict[str, Any] = {}
    for name, value in runs[0].items():
        if isinstance(value, Mapping):
            names = dict.fromkeys(inner for run in runs for inner in run[name])
            found[name] = {
                inner: statistics.median(run[name].get(inner, 0.0) for run in runs) for inner in names
            }
        else:
            found[name] = statistics.median(run[name] for run in runs)
    return found


def _machine() -> dict[str, Any]:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": models[0] if models else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load": os.getloadavg(),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
