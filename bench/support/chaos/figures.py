"""The figures of a run: finished work, faults that hit running work, recovery times."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.support.chaos.faults import Fault
from bench.support.chaos.harness import Harness

_COUNTS: Final = """
SELECT (SELECT count(*) FROM tasks) AS tasks,
    (SELECT count(*) FROM rounds) AS rounds,
    (SELECT count(*) FROM steps WHERE kind = 'step' AND state IN ('done', 'failed')) AS steps,
    (SELECT count(*) FROM events) AS events,
    (SELECT count(*) FROM ledger) AS model_calls,
    (SELECT coalesce(sum(attempt), 0) FROM steps) AS attempts,
    (SELECT count(*) FROM events WHERE type = 'step.started' AND (payload ->> 'attempt')::int > 1) AS reclaims,
    (SELECT count(*) FROM events WHERE payload ->> 'reason' = 'lease_expired') AS expired_leases,
    (SELECT count(*) FROM events WHERE payload ->> 'reason' = 'worker_lost') AS lost_children,
    (SELECT count(*) FROM events WHERE payload ->> 'reason' = 'handed_back') AS handed_back,
    (SELECT count(*) FROM steps WHERE spec ? 'once' AND state = 'done') AS writes,
    (SELECT count(*) FROM events WHERE type = 'step.outcome_unknown') AS unknown_effects,
    (SELECT count(*) FROM approvals WHERE kind = 'approval') AS approvals
"""
_NEXT_START: Final = """
SELECT extract(epoch FROM min(occurred_at))::float8 AS at
FROM events
WHERE type = 'step.started' AND payload ->> 'step_id' = %(id)s AND (payload ->> 'attempt')::int > %(attempt)s
"""
_LOGGED: Final = {"claim.refused": "refused_duplicates", "chord.refused": "refused_outcomes"}


@dataclass(frozen=True)
class Figures:
    """Counts by name, faults and hits by kind, and seconds from a fault to the next start of its step."""

    counts: Mapping[str, int]
    faults: Mapping[str, tuple[int, int]]
    recovery_seconds: Mapping[str, Sequence[float]]

    @property
    def unhit(self) -> list[str]:
        """The kinds of hit that a meaningful run needs and that did not occur."""
        wanted = (
            "reclaims",
            "expired_leases",
            "lost_children",
            "refused_duplicates",
            "refused_outcomes",
            "model_calls",
        )
        return [name for name in wanted if not self.counts[name]]


def read_figures(harness: Harness, faults: Sequence[Fault], *, logs: Path) -> Figures:
    """Read the figures from Postgres; refused duplicates leave no row and are counted in the logs."""
    counts = {name: int(count) for name, count in harness.ask(_COUNTS)[0].items()}
    logged = Counter(_events(logs.glob("*.log")))
    kinds = sorted({fault.kind for fault in faults})
    recovery: dict[str, list[float]] = {}
    for fault in faults:
        for step_id, attempt in fault.hits:
            at = harness.ask(_NEXT_START, id=step_id, attempt=attempt)[0]["at"]
            if at is not None:
                recovery.setdefault(fault.kind, []).append(at - fault.at)
    return Figures(
        {**counts, **{name: logged[event] for event, name in _LOGGED.items()}},
        {
            kind: (
                sum(fault.kind == kind for fault in faults),
                sum(fault.kind == kind and bool(fault.hits) for fault in faults),
            )
            for kind in kinds
        },
        recovery,
    )


def p50_and_max(seconds: Sequence[float]) -> str:
    """Return the median and the maximum of some spans as text."""
    return f"P50 {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s, n {len(seconds)}"


def _events(logs: Iterable[Path]) -> Iterable[str]:
    for log in logs:
        with log.open(errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield str(record.get("event"))
