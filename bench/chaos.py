"""Injects faults into every process and server while tasks run, then audits the result.

Exit status 0 when the audit finds nothing, and the faults hit enough running work to prove something. `--mutations`
runs the same chaos on three broken copies of the product instead; 0 then means that the auditor reported each.
"""

import argparse
import logging
import random
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import structlog

from bench.support.chaos.figures import p50_and_max
from bench.support.chaos.run import Conditions, Outcome, run

_REPORTED_AS: Final[Mapping[str, Collection[str]]] = {
    "fence": {"lease_taken", "step_completed_twice", "step_recorded_twice"},
    "count": {"chord_miscounted"},
    "publish": {"resent_in_calm"},
}
MUTATIONS: Final = tuple(_REPORTED_AS)
LONG_SECONDS: Final = 300.0
"""From this duration on leases have their default length, and every kind of hit must have occurred."""
_SHOWN: Final = 5


def main() -> int:
    """Run what the command line asks for and print the result."""
    # warnings about a broker that we stopped ourselves would only be noise
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    seconds = arguments.seconds or (20.0 if arguments.mutations else 60.0)
    is_long = seconds >= LONG_SECONDS
    lease, heartbeat = (15.0, 5.0) if is_long else (4.0, 1.0)
    conditions = Conditions(seed, seconds, lease_seconds=lease, heartbeat_seconds=heartbeat)
    target = "chaos-mutations" if arguments.mutations else "chaos"
    print(f"SEED={seed} make {target} SECONDS={seconds:g}: leases of {lease:g} s", flush=True)
    if arguments.mutations:
        found = [_mutated(replace(conditions, mutation=name)) for name in arguments.mutations]
        return 0 if all(found) else 1
    outcome = run(conditions)
    _report(outcome)
    unhit = outcome.figures.unhit if is_long else []
    if unhit:
        print(f"proves nothing: no {', '.join(unhit)}")
    return 1 if outcome.violations or unhit else 0


def _mutated(conditions: Conditions) -> bool:
    """Run on a broken copy; return whether the auditor reported what this defect causes."""
    outcome = run(conditions)
    checks = {violation.check for violation in outcome.violations}
    is_found = not checks.isdisjoint(_REPORTED_AS[conditions.mutation])
    print(
        f"mutation {conditions.mutation}: {'found' if is_found else 'MISSED'}: "
        f"{len(outcome.violations)} violations: {', '.join(sorted(checks))}"
    )
    _list(outcome)
    return is_found


def _report(outcome: Outcome) -> None:
    figures = outcome.figures
    print("  ".join(f"{name} {count}" for name, count in figures.counts.items()))
    for kind, (count, hits) in figures.faults.items():
        recovery = figures.recovery_seconds.get(kind)
        told = f"; running again: {p50_and_max(recovery)}" if recovery else ""
        print(f"  {kind:20} {count:>4}, of them hit running work {hits:>4}{told}")
    everything = [seconds for some in figures.recovery_seconds.values() for seconds in some]
    if everything:
        print(f"recovery: {p50_and_max(everything)}")
    checks = [violation.check for violation in outcome.violations]
    lost = sum(check in {"task_lost", "task_open", "step_open", "step_missing"} for check in checks)
    doubled = sum(check.endswith(("twice", "doubled", "not_once", "unasked")) for check in checks)
    print(f"accepted {len(outcome.accepted)}  lost {lost}  doubled {doubled}  violations {len(checks)}")
    _list(outcome)


def _list(outcome: Outcome) -> None:
    for check in dict.fromkeys(violation.check for violation in outcome.violations):
        found = [violation for violation in outcome.violations if violation.check == check]
        for violation in found[:_SHOWN]:
            print(f"  {check}: {violation.subject}: {violation.told}")
        if len(found) > _SHOWN:
            print(f"  {check}: and {len(found) - _SHOWN} more")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long faults are committed: 60, 20 with a mutation")
    parser.add_argument("--seed", type=int, help="of all that is random; printed, to be given again")
    parser.add_argument("--mutations", nargs="*", choices=MUTATIONS, help="all of them when none is named")
    arguments = parser.parse_args()
    if arguments.mutations == []:
        arguments.mutations = list(MUTATIONS)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
