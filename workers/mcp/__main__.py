"""Starts an MCP server once and prints what it says of itself, for `octollm tools`: `python -m workers.mcp < ARM`.

ARM is JSON: `name`, the manifest's table `mcp`, `env`, and the texts `allowed_hosts` and `local_targets`. The answer
is JSON, too: `tools`, `version` and `protocol`, or `error` and the end of what the server wrote for its operator.
"""

import json
import sys
import time
from typing import Any

from orchestrator.auth.egress import EgressRules
from orchestrator.models.errors import OctoError, ToolTimeout
from orchestrator.settings_text import parse_hosts, parse_local_targets
from workers.mcp.connections import Connections
from workers.mcp.server import starter_of
from workers.sandbox.backend import Isolation
from workers.sandbox.selection import NOT_TESTED, select_sandbox

_SECONDS = 90.0


def main() -> None:
    """Answer the one request on the standard input."""
    asked = json.load(sys.stdin)
    least = Isolation(sys.argv[1] if len(sys.argv) > 1 else Isolation.BASIC)
    sys.stdout.write(json.dumps(_described(asked, least)))


def _described(asked: dict[str, Any], least: Isolation) -> dict[str, Any]:
    give_up = time.monotonic() + _SECONDS

    def checkpoint() -> None:
        if time.monotonic() > give_up:
            raise ToolTimeout(f"the MCP server did not list its tools within {_SECONDS:g} s")

    connections = Connections()
    start = starter_of(
        asked["mcp"],
        asked["env"],
        status=select_sandbox(least) if "command" in asked["mcp"] else NOT_TESTED,
        rules=EgressRules(
            "url",
            "ARM_ALLOWED_HOSTS",
            parse_hosts(asked["allowed_hosts"]),
            parse_local_targets(asked["local_targets"]),
            allows_plain=True,
        ),
    )
    try:
        described = connections.describe(asked["name"], start, checkpoint=checkpoint)
    except OctoError as error:
        return {"error": error.message, "said": "\n".join(connections.close())}
    connections.close()
    return described


if __name__ == "__main__":
    main()
