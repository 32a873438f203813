"""Prints the figures of a drive and compares them with the targets."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from bench.workload.outcome import Outcome, Shares, ordinary, shares, wilson_upper
from bench.workload.stream import Kind

WARM_UP: Final = 0.4
TARGET_HIT_RATE: Final = 0.77


def report(outcomes: Sequence[Outcome], *, model_calls: int) -> bool:
    """Print the figures without the warm-up, and the wrong hits with it; return whether the targets are met."""
    measured = after_warm_up(outcomes)
    eligible = [one for one in measured if one.request.kind is not Kind.EFFECT]
    ordinaries = shares(ordinary(measured))
    groups = {
        "ordinary, a burst once": ordinaries,
        "bursts in full": shares([one for one in eligible if one.request.burst is not None]),
        "traps": shares([one for one in eligible if one.request.kind is Kind.TRAP]),
        "all eligible": shares(eligible),
    }
    print(
        f"measured {len(measured)} requests after the warm-up, eligible {len(eligible) / len(measured):.3f}"
    )
    _print_table(groups)
    wrong = _report_wrong(outcomes)
    print(f"judge calls a request: {model_calls / len(outcomes):.3f}")
    layers = " + ".join(ordinaries.by_layer)
    print(
        f"ordinary requests answered by {layers}: {ordinaries.hit_rate:.3f} (target {TARGET_HIT_RATE:g}), "
        f"wrong hits {wrong} (target 0)"
    )
    return ordinaries.hit_rate >= TARGET_HIT_RATE and not wrong


def after_warm_up(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Return the outcomes after the warm-up."""
    return outcomes[round(len(outcomes) * WARM_UP) :]


def _print_table(groups: dict[str, Shares]) -> None:
    layers = sorted({layer for group in groups.values() for layer in group.by_layer})
    print(
        f"{'':>24} {'requests':>9} {'ceiling':>8} {'capture':>8} {'hit rate':>9}",
        *(f"{one:>10}" for one in layers),
    )
    for name, group in groups.items():
        figures = f"{group.requests:>9} {group.ceiling:>8.3f} {group.capture:>8.3f} {group.hit_rate:>9.3f}"
        print(f"{name:>24} {figures}", *(f"{group.by_layer.get(one, 0.0):>10.3f}" for one in layers))


def _report_wrong(outcomes: Sequence[Outcome]) -> int:
    hits = [one for one in outcomes if one.is_hit]
    traps = [one for one in outcomes if one.request.kind is Kind.TRAP]
    effects = [one for one in outcomes if one.request.kind is Kind.EFFECT]
    for name, tried in (("hits", hits), ("traps", traps), ("requests with side effects", effects)):
        wrong = sum(one.is_wrong for one in tried)
        print(f"wrong: {wrong} of {len(tried)} {name}, at most {wilson_upper(wrong, len(tried)):.5f} (95 %)")
    changes = Counter(str(one.request.change) for one in traps)
    print(
        "traps by what was changed:", ", ".join(f"{name} {count}" for name, count in sorted(changes.items()))
    )
    wrong_hits = [one for one in hits if one.is_wrong]
    for one in wrong_hits[:5]:
        print(f"  wrong by {one.layer}: asked {one.request.goal!r} ({one.request.label}), got {one.served}")
    return len(wrong_hits)
