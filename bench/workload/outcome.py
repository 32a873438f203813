"""Outcomes of a stream's requests, and their statistics."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.workload.stream import Kind, Request

RAN: Final = "ran"
_Z95: Final = 1.6448536269514722


@dataclass(frozen=True)
class Outcome:
    """The layer that served a request (RAN: none did), and the class of the task whose result it got.

    `was_repeatable`: a perfect cache, which knows the classes, would have served it.
    """

    request: Request
    layer: str
    served: str
    was_repeatable: bool

    @property
    def is_hit(self) -> bool:
        return self.layer != RAN

    @property
    def is_wrong(self) -> bool:
        """True for a hit with the result of another class, or of a task with side effects."""
        return self.is_hit and (self.served != self.request.label or self.request.kind is Kind.EFFECT)


class Shares(NamedTuple):
    """Shares of requests that a perfect cache would serve (`ceiling`) and that each layer served."""

    requests: int
    ceiling: float
    by_layer: dict[str, float]

    @property
    def hit_rate(self) -> float:
        return sum(self.by_layer.values())

    @property
    def capture(self) -> float:
        """Return the share of the ceiling that was reached."""
        return self.hit_rate / self.ceiling if self.ceiling else 0.0


def shares(outcomes: Sequence[Outcome]) -> Shares:
    """Return the shares over all outcomes."""
    count = max(1, len(outcomes))
    layers = Counter(outcome.layer for outcome in outcomes if outcome.is_hit)
    repeatable = sum(outcome.was_repeatable for outcome in outcomes)
    return Shares(
        len(outcomes), repeatable / count, {layer: hits / count for layer, hits in sorted(layers.items())}
    )


def ordinary(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes of plain requests; of a burst only the first."""
    kept, bursts = [], set()
    for outcome in outcomes:
        burst = outcome.request.burst
        if outcome.request.kind is Kind.PLAIN and (burst is None or burst not in bursts):
            kept.append(outcome)
            bursts.add(burst)
    return kept


def wilson_upper(wrong: int, trials: int) -> float:
    """Return the one-sided 95 % upper bound of a rate observed `wrong` times in `trials` (Wilson 1927)."""
    if not trials:
        return 1.0
    share, z2 = wrong / trials, _Z95**2
    centre = share + z2 / (2 * trials)
    spread = _Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return min(1.0, (centre + spread) / (1 + z2 / trials))
