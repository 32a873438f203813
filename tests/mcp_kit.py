"""Makes arms of MCP servers for tests, and lets this process use them."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.auth.egress import EgressRules
from orchestrator.cli.mcp_arm import McpArm
from orchestrator.models.arm_capability import ARMS, ArmCapability, ArmRegistry, arm_of
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import REGISTRY
from workers.mcp.connections import CONNECTIONS
from workers.mcp.server import starter_of
from workers.sandbox.selection import SandboxStatus

SCRIPT = Path(__file__).with_name("mcp_server.py")


def odd_server(mode: str, place: Path) -> dict[str, Any]:
    """Return the table [mcp] of the server of mcp_server.py, which may write the directory `place`."""
    place.mkdir(exist_ok=True)
    return {
        "command": [sys.executable, "-I", str(SCRIPT), mode, str(place)],
        "reads": [str(SCRIPT)],
        "writes": [str(place)],
    }


def freeze_arm(
    arms: Path,
    name: str,
    table: Mapping[str, Any],
    *,
    sandbox: SandboxStatus,
    rules: EgressRules | None = None,
) -> McpArm:
    """Start the server, and freeze its tools as an arm below `arms`; `using` ends it."""
    described = CONNECTIONS.describe(
        name, starter_of(table, (), status=sandbox, rules=rules), checkpoint=lambda: None
    )
    arm = McpArm(arms / name)
    record = {
        "description": f"Tools of the server {name}",
        "version": described["version"],
        "env": [],
        "mcp": table,
    }
    arm.create(record, described["tools"])
    return arm


def load_arms(arms: Path) -> dict[str, ArmCapability]:
    """Return the arms below a directory of ARMS_PATH, by id."""
    registry = ArmRegistry(arm_of(record) for record in read_manifests(REGISTRY, str(arms)))
    return {arm.arm_id: arm for arm in registry.values() if arm.source == "ARMS_PATH"}


@contextmanager
def using(arms: Path) -> Iterator[Mapping[str, ArmCapability]]:
    """Let this process use the arms below a directory; their servers end with the block."""
    loaded, before = load_arms(arms), ARMS._static
    ARMS._static = MappingProxyType({**before, **loaded})
    try:
        yield loaded
    finally:
        ARMS._static = before
        CONNECTIONS.close()


def servers_of(place: Path) -> list[int]:
    """Return the pids of the running servers that may write `place`, without the processes of their sandboxes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if words[-2:-1] == [str(place)] and words[1] == "-I" and words[2] == str(SCRIPT):
            found.append(int(process.name))
    return found
