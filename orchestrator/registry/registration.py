"""Reads a manifest that is registered over HTTP, by the rules for manifests in files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.models.errors import InvalidInput
from orchestrator.registry.manifest import action_defaults, arm_defaults, contract_faults
from orchestrator.registry.manifest_check import Faults, check_actions, check_manifest

MAX_ACTIONS: Final = 50
MAX_MANIFEST_BYTES: Final = 128 * 1024
MEMBERS: Final = (
    "arm_id",
    "name",
    "description",
    "version",
    "cost_tier",
    "max_concurrent_tasks",
    "url",
    "actions",
)
_OF_FILES: Final = ("input", "output", "attachments", "tools", "least_tokens")


class _BodyFaults(Faults):
    """The faults of a request's body: each with its field in place of a file's line."""

    def __init__(self) -> None:
        super().__init__(Path(), "")
        self.fields: list[dict[str, str]] = []

    def add(self, place: Sequence[str], message: str) -> None:
        """Add a fault at a member."""
        if len(self.fields) < MAX_ACTIONS:
            field = ".".join(name[:64] for name in place if name != "worker")
            self.fields.append({"field": field, "message": message[:300]})

    def raise_if_any(self) -> None:
        """Raise InvalidInput with all faults."""
        if self.fields:
            first = "{field}: {message}".format(**self.fields[0])
            more = f" (and {len(self.fields) - 1} more)" if len(self.fields) > 1 else ""
            raise InvalidInput(first + more, details={"errors": self.fields})


def read_registration(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the complete record of an HTTP arm: `members` are some of MEMBERS. Raises InvalidInput.

    An action has JSON Schemas only; what concerns our own machines (files, tools) can't be written.
    """
    written = {name: value for name, value in members.items() if value is not None}
    faults = _BodyFaults()
    actions, slots = written.pop("actions", {}), written.pop("max_concurrent_tasks", 4)
    check_manifest({**written, "worker": {"max_concurrent_tasks": slots}}, faults, ours=False)
    check_actions(actions, faults, inside=("actions",), ours=False)
    if len(actions) > MAX_ACTIONS:
        faults.add(("actions",), f"has {len(actions)} actions: an arm may have {MAX_ACTIONS}")
    for name, action in actions.items():
        for member in _OF_FILES:
            if isinstance(action, Mapping) and member in action:
                faults.add(("actions", name, member), "can't be used by an HTTP arm: leave it out")
    faults.raise_if_any()
    for name, action in actions.items():
        for member in ("input_schema", "output_schema"):
            for fault in contract_faults(action[member]) if member in action else ():
                faults.add(("actions", name, member), fault)
    faults.raise_if_any()
    record = {**arm_defaults(written), **written, "max_concurrent_tasks": slots}
    # a later registration may answer differently: a result is used again only if the arm says for how long
    record["actions"] = {
        name: {**action_defaults(name, action), "max_age_seconds": 0, **action}
        for name, action in actions.items()
    }
    if (size := len(json.dumps(record).encode())) > MAX_MANIFEST_BYTES:
        faults.add(("actions",), f"make {size:,} bytes of JSON: an arm may have {MAX_MANIFEST_BYTES:,}")
    faults.raise_if_any()
    return record
