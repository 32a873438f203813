"""Runs every hypothesis test with new random examples, in rounds, until the time is over.

Run `python -m tests.fuzz [--seconds 120] [--seed N] [pytest arguments]`. Each round has the seed of the one before
plus one; a seed repeats a round's examples. It stops at the first round that fails, with exit code 1.
"""

import argparse
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

_STOPPING_SECONDS = 60
_FAILED = 1
# pytest's own code, and Python's if pytest was still starting
_INTERRUPTED = (2, -signal.SIGINT)


def main() -> int:
    """Run rounds until the time is over or one fails; print the command that repeats that round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    chosen, arguments = parser.parse_known_args()
    # a background job of a shell ignores SIGINT, and so would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
    give_up_at = time.monotonic() + chosen.seconds
    seed = chosen.seed
    while True:
        print(f"seed {seed}; repeat with: make fuzz SEED={seed}", flush=True)
        code = _round(seed, arguments, give_up_at=give_up_at)
        if code is None:
            print(f"{chosen.seconds:g} s are over: {seed - chosen.seed} whole rounds, nothing found")
            return 0
        if code == _FAILED:
            print(
                f"seed {seed} found something. Run it again: make fuzz SEED={seed} ARGS='<the test that failed>'"
            )
            print("Write what it found as an @example of the test, then fix it.")
        if code:
            return code
        seed += 1


def _round(seed: int, arguments: Sequence[str], *, give_up_at: float) -> int | None:
    """Return the exit code of one round; None if the time ended first and nothing had failed."""
    command = [sys.executable, "-m", "pytest", "-m", "fuzz", "--maxfail=1", "-p", "no:cacheprovider"]
    command += ["--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}", *arguments]
    with subprocess.Popen(command) as running:
        try:
            return running.wait(max(give_up_at - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            # pytest ends its servers on this signal and exits 2, or 1 if a test had failed before
            running.send_signal(signal.SIGINT)
        except KeyboardInterrupt:
            running.wait(_STOPPING_SECONDS)
            raise
        code = running.wait(_STOPPING_SECONDS)
    return None if code in _INTERRUPTED else code


if __name__ == "__main__":
    sys.exit(main())
