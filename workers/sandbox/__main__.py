"""Says as one JSON object how tools are kept apart on this machine: `python -m workers.sandbox`."""

import json
import sys

from workers.sandbox.backend import Isolation
from workers.sandbox.choice import strongest


def main() -> None:
    """Test the sandboxes of this machine; the argument is the weakest level that would do."""
    standing = strongest(Isolation(sys.argv[1] if len(sys.argv) > 1 else Isolation.BASIC))
    print(
        json.dumps(
            {
                "isolation": standing.isolation,
                "reason": standing.reason,
                "mend": standing.mend,
                "passed_over": list(standing.passed_over),
            }
        )
    )


if __name__ == "__main__":
    main()
