"""Tests the sandboxes of this machine and prints the result as JSON: `python -m workers.sandbox [MINIMUM]`."""

import json
import sys

from workers.sandbox.backend import Isolation
from workers.sandbox.selection import select_sandbox


def main() -> None:
    """Test the sandboxes; the argument is the weakest isolation that is acceptable, `basic` by default."""
    status = select_sandbox(Isolation(sys.argv[1] if len(sys.argv) > 1 else Isolation.BASIC))
    print(
        json.dumps(
            {
                "isolation": status.isolation,
                "reason": status.reason,
                "mend": status.fix,
                "passed_over": list(status.passed_over),
            }
        )
    )


if __name__ == "__main__":
    main()
