"""The ledger arm (tests/arms/ledger) for tests in this process, and the lines that its actions appended."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from orchestrator.models.arm_capability import ARMS, arm_of
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import REGISTRY

ARMS_PATH = Path(__file__).parents[1] / "arms"


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


@contextmanager
def registered() -> Iterator[None]:
    """Let this process know the ledger inside the block, as if ARMS_PATH had named it at the start."""
    records = read_manifests(REGISTRY, str(ARMS_PATH))
    (ledger,) = (arm_of(record) for record in records if record["arm_id"] == "ledger")
    known = ARMS._static
    ARMS._static = MappingProxyType({**known, ledger.arm_id: ledger})
    try:
        yield
    finally:
        ARMS._static = known


def append(name: str, *after: str, action: str = "append", **inputs: Any) -> dict[str, Any]:
    """Return a step that appends its name."""
    return {
        "id": name,
        "arm": "ledger",
        "action": action,
        "inputs": {"text": name, **inputs},
        "depends_on": list(after),
    }
