"""Measures what a limited child costs: from the call that parses an empty report to its value, the server warm.

Quantiles of 200 calls. Exit status 0 if the median stays under 30 ms.
"""

import statistics
import sys
import time
from typing import Final

from workers.arms.reports import parse_test_report
from workers.sandbox.limited import limited

CALLS: Final = 200
TARGET_MS: Final = 30.0


def main() -> int:
    """Print the first call, which starts the server, and quantiles of the rest."""
    parse = limited(parse_test_report, "nothing")
    milliseconds: list[float] = []
    for _ in range(CALLS + 1):
        began = time.perf_counter()
        parse(b"<x/>", [])
        milliseconds.append((time.perf_counter() - began) * 1000)
    first, *warm = milliseconds
    middle, late = statistics.median(warm), statistics.quantiles(warm, n=20)[-1]
    print(f"first {first:.0f} ms   p50 {middle:.1f} ms   min {min(warm):.1f} ms   p95 {late:.1f} ms")
    return int(middle > TARGET_MS)


if __name__ == "__main__":
    sys.exit(main())
