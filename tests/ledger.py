"""The ledger arms (tests/arms) for tests and benchmarks, and the lines that their actions appended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.models.arm_capability import ARMS, ArmCapability, arm_of
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import REGISTRY

ARMS_PATH = Path(__file__).parent / "arms"
LEDGERS = ("ledger", "ledger-fork")
"""The arms: one with threads, one with the processes of a prefork pool."""


class Line(NamedTuple):
    """A line that a step appended."""

    key: str
    attempt: int
    text: str


@dataclass(frozen=True)
class Ledger:
    """The file that holds the effects."""

    path: Path

    def lines(self) -> list[Line]:
        """Return all lines, the oldest first."""
        if not self.path.exists():
            return []
        parts = (line.split("\t") for line in self.path.read_text().splitlines())
        return [Line(key, int(attempt), text) for key, attempt, text in parts]


def known_with(*ledgers: str) -> MappingProxyType[str, ArmCapability]:
    """Return the arms that this process knows, and these ledgers."""
    arms = map(arm_of, read_manifests(REGISTRY, str(ARMS_PATH)))
    return MappingProxyType({**ARMS._static, **{arm.arm_id: arm for arm in arms if arm.arm_id in ledgers}})


@contextmanager
def registered(*ledgers: str) -> Iterator[None]:
    """Let this process know these ledgers inside the block, as if ARMS_PATH had named them at the start."""
    known = ARMS._static
    ARMS._static = known_with(*ledgers)
    try:
        yield
    finally:
        ARMS._static = known


def append(
    name: str, *after: str, arm: str = "ledger", action: str = "append", **inputs: Any
) -> dict[str, Any]:
    """Return a step that appends its name."""
    return {
        "id": name,
        "arm": arm,
        "action": action,
        "inputs": {"text": name, **inputs},
        "depends_on": list(after),
    }
