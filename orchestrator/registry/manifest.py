"""Reads one manifest of an arm into a record, with defaults filled in and its actions' JSON Schemas written out."""

import hashlib
import importlib
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.models.errors import SettingsError
from orchestrator.registry import sources
from orchestrator.registry.short_types import ShortTypes
from orchestrator.registry.sources import Source

_SIDES = ("input", "output")
PLUG_INS: Final = "arms"
"""The line of the Procfile that serves the arms of plug-ins."""


def read_manifests(registry: Path, arms_path: str = "") -> Iterator[dict[str, Any]]:
    """Yield the records of all arms, the built-in ones first, each with the members of ArmCapability.

    An action has `input_schema` and `output_schema` in place of `input` and `output`. Raises SettingsError, which
    names the file.
    """
    shared = tomllib.loads((registry / "types.toml").read_text("utf-8"))["types"]
    for source in sources.find(registry, arms_path):
        record = _read(source, shared)
        if not source.is_built_in:
            record["contract_digest"] = _digest(source, record)
        yield record


def _read(source: Source, shared: Mapping[str, Any]) -> dict[str, Any]:
    try:
        written = tomllib.loads(source.path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{source.shown}: {error}") from error
    worker = written.pop("worker", {})
    types = ShortTypes({**shared, **written.pop("types", {})})
    record = {**written, **worker, "source": source.origin}
    if not source.is_built_in:
        record = {**_defaults(record), **record}
        record["actions"] = _actions(source, record)
    for name, action in record["actions"].items():
        for side in _SIDES:
            if side in action:
                action[f"{side}_schema"] = _schema(types, action.pop(side), source)
        if not source.is_built_in:
            record["actions"][name] = {**_action_defaults(name, action), **action}
    return record


def _digest(source: Source, record: Mapping[str, Any]) -> str:
    """Return the sha256 of a plug-in's contracts and files; the directory that it lies in does not change it."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode())
    for path in source.files():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(source.path.parent).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _defaults(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(record["arm_id"]).replace("-", " ").title(),
        "version": "1.0.0",
        "cost_tier": 1,
        "in_plans": True,
        "is_required": False,
        "kind": "http" if "url" in record else "mcp" if "mcp" in record else "function",
        "queue": f"arm.{record['arm_id']}",
        "process": PLUG_INS,
        "pool": "threads",
        "max_concurrent_tasks": 4,
    }


def _action_defaults(name: str, action: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an action of a plug-in does not state.

    What is outside can change and a write must happen, so only results of actions without effects are reused.
    """
    is_pure = action["effects"] == "none"
    return {
        "capabilities": [name],
        "attachments": "none",
        "timeout_seconds": 60.0,
        "idempotent": action["effects"] != "write",
        "deterministic": is_pure,
        "max_age_seconds": None if is_pure else 0,
        "input_schema": {"type": "object", "additionalProperties": False},
        "output_schema": {"type": "object"},
    }


def _actions(source: Source, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm's actions: from the manifest, else from the file beside it, else from its module."""
    module = record.get("module")
    if module and source.search_path and str(source.search_path) not in sys.path:
        sys.path.append(str(source.search_path))
    if "actions" in record:
        return dict(record["actions"])
    if source.actions_path.is_file():
        return dict(json.loads(source.actions_path.read_text("utf-8")))
    if record["kind"] == "function" and module:
        return _actions_of_module(source, module)
    raise SettingsError(f"{source.shown} states no actions: add a table [actions.NAME]")


def _actions_of_module(source: Source, module: str) -> dict[str, Any]:
    try:
        # imported here, since only arms without stated actions need it
        contracts = importlib.import_module("orchestrator.sdk.contracts")
        return dict(contracts.actions_of(module, source.search_path))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"{source.shown} states no actions, and its module {module} can't be imported to find them "
            f"({type(error).__name__}: {reason:.300}): repair it, or state the actions in {source.actions_path.name}, "
            "which `octollm arm freeze` writes where the module can be imported; then only the arm's own "
            "processes import it"
        ) from error


def _schema(types: ShortTypes, written: Any, source: Source) -> dict[str, Any]:
    try:
        return types.contract(written)
    except ValueError as error:
        raise SettingsError(f"{source.shown} {error}") from None
