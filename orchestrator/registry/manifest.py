"""Reads the manifests of all arms into records, with defaults filled in and the actions' JSON Schemas written out."""

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from orchestrator.models.errors import SettingsError
from orchestrator.registry import sources
from orchestrator.registry.manifest_check import Faults, check_actions, check_manifest
from orchestrator.registry.short_types import ShortTypes
from orchestrator.registry.sources import Source

PLUG_INS: Final = "arms"
"""The line of the Procfile that serves the arms of plug-ins."""
MAX_BYTES: Final = 2**20
# processes that serve no arm of a manifest, and a queue of one; `octollm up` names a plug-in's process after its arm
_PROCESSES: Final = ("web", PLUG_INS, "remote", "arm.remote", "webhook", "sweeper", "flower", "release")
_SIDES: Final = ("input", "output")
_AT_LINE: Final = re.compile(r" \(at line (\d{1,9}), column \d{1,9}\)")


def read_manifests(registry: Path, arms_path: str = "") -> Iterator[dict[str, Any]]:
    """Yield the records of all arms, the built-in ones first, each with the members of ArmCapability.

    An action has `input_schema` and `output_schema` in place of `input` and `output`. Raises SettingsError, which
    names the file, the line and what to write, for a manifest that is wrong or that contradicts another one.
    """
    shared = read_types(registry)
    taken: dict[str, str] = dict.fromkeys(_PROCESSES, "a kind of process")
    for source in sources.find(registry, arms_path):
        record = read_manifest(source, shared)
        if source.is_built_in:
            names = {record["arm_id"], record["queue"], record["process"], *record.get("aliases", ())}
            taken |= dict.fromkeys(names, "a built-in arm")
        else:
            _require_free(source, record, taken)
            taken |= dict.fromkeys((record["arm_id"], record["queue"]), str(source.path))
        yield record


def read_types(registry: Path) -> dict[str, Any]:
    """Return the types that all manifests may name."""
    return dict(tomllib.loads((registry / "types.toml").read_text("utf-8"))["types"])


def read_manifest(source: Source, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of one manifest, by itself; `shared` are types that it may name. Raises SettingsError."""
    text = _text(source.path)
    written = _toml(source.path, text)
    faults = Faults(source.path, text)
    check_manifest(written, faults, ours=source.is_built_in)
    faults.raise_if_any()
    types, worker = ShortTypes({**shared, **written.pop("types", {})}), written.pop("worker", {})
    record = {**written, **worker, "source": source.origin}
    if source.is_built_in:
        check_actions(record["actions"], faults, inside=("actions",), ours=True)
        _write_out(record["actions"], types, faults, inside=("actions",), ours=True)
        faults.raise_if_any()
        return record
    record = {**arm_defaults(record), **record}
    _find_module(source, record.get("module"), faults)
    faults.raise_if_any()
    record["actions"] = _actions(source, record, faults, types=types)
    record["contract_digest"] = _digest(source, record)
    return record


def _actions(
    source: Source, record: Mapping[str, Any], stated: Faults, *, types: ShortTypes
) -> dict[str, Any]:
    """Return a plug-in's actions: from the manifest, else from the file beside it, else from its module."""
    inside: tuple[str, ...] = ()
    if "actions" in record:
        found, faults, inside = dict(record["actions"]), stated, ("actions",)
    elif source.actions_path.is_file():
        text = _text(source.actions_path)
        found, faults = _stated(_json(source.actions_path, text)), Faults(source.actions_path, text)
    elif record["kind"] == "function":
        found, faults = _stated(_actions_of_module(source, record["module"])), stated
    else:
        found, faults, inside = {}, stated, ("actions",)
    check_actions(found, faults, inside=inside, ours=False)
    faults.raise_if_any()
    _write_out(found, types, faults, inside=inside, ours=False)
    faults.raise_if_any()
    return {name: {**action_defaults(name, action), **action} for name, action in found.items()}


def _actions_of_module(source: Source, module: str) -> dict[str, Any]:
    """Return the actions that an arm's module declares. Raises SettingsError when it can't be imported."""
    # only arms without stated actions need them: they import pydantic
    from orchestrator.sdk.contracts import actions_of  # noqa: PLC0415
    from orchestrator.sdk.errors import ContractFault  # noqa: PLC0415

    try:
        return actions_of(module, source.search_path)
    except ContractFault as error:
        raise SettingsError(str(error)) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SettingsError(
            f"{source.path} states no actions, and its module {module} can't be imported to find them "
            f"({type(error).__name__}: {reason:.300}): repair it, or state the actions in {source.actions_path.name}, "
            "which `octollm arm freeze` writes where the module can be imported; then only the arm's own "
            "processes import it"
        ) from error


def _stated(actions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the actions without members that are null, which means as much as left out."""
    return {
        name: {key: value for key, value in action.items() if value is not None}
        if isinstance(action, Mapping)
        else action
        for name, action in actions.items()
    }


def _write_out(
    actions: Mapping[str, Any], types: ShortTypes, faults: Faults, *, inside: tuple[str, ...], ours: bool
) -> None:
    """Replace the short contracts of actions by JSON Schemas; check those that are not ours (tests check ours)."""
    for name, action in actions.items():
        for side in _SIDES:
            place = (*inside, name, side if side in action else f"{side}_schema")
            try:
                if side in action:
                    action[f"{side}_schema"] = types.contract(action.pop(side))
            except ValueError as error:
                faults.add(place, str(error))
            if not ours and f"{side}_schema" in action:
                for fault in contract_faults(action[f"{side}_schema"]):
                    faults.add(place, fault)


def contract_faults(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the schema of an action's inputs or output, as the end of a sentence."""
    from orchestrator.rules.schema_check import schema_faults  # noqa: PLC0415 - only plug-ins need it at start

    for fault in schema_faults(schema):
        yield f"is wrong: {fault}"
    if schema.get("type") != "object":
        yield 'must describe an object: write type = "object", and its members as properties'


def arm_defaults(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest of a plug-in does not state."""
    return {
        "name": record["arm_id"].replace("-", " ").replace("_", " ").title(),
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


def action_defaults(name: str, action: Mapping[str, Any]) -> dict[str, Any]:
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
        "input_schema": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        "output_schema": {"type": "object"},
    }


def _find_module(source: Source, module: str | None, faults: Faults) -> None:
    """Let an arm's module be imported from the manifest's directory, if it lies there.

    The directory comes last in sys.path, so that no arm can replace a module of ours or of a library; a name that
    would lead to another module is a fault.
    """
    here, first = source.search_path, (module or "").partition(".")[0]
    if here is None or not ((here / f"{first}.py").is_file() or (here / first / "__init__.py").is_file()):
        return
    found = PathFinder.find_spec(first)
    is_other = found is not None and found.origin and here not in Path(found.origin).absolute().parents
    if first in sys.stdlib_module_names or is_other:
        faults.add(
            ("worker", "module"),
            f"names {first}, which is another module, too: rename {first} in {here}, and here",
        )
    elif str(here) not in sys.path:
        sys.path.append(str(here))


def _require_free(source: Source, record: Mapping[str, Any], taken: Mapping[str, str]) -> None:
    """Raise SettingsError when the arm's id or queue is another one's."""
    faults = Faults(source.path, _text(source.path))
    for place, name in ((("arm_id",), record["arm_id"]), (("worker", "queue"), record["queue"])):
        if name in taken:
            faults.add(
                place, f"is {name!r}, which {taken[name]} has: choose another one, or remove one of the two"
            )
    faults.raise_if_any()


def _digest(source: Source, record: Mapping[str, Any]) -> str:
    """Return the sha256 of a plug-in's contracts and files; the directory that it lies in does not change it."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode())
    for path in source.files(record.get("module")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(source.path.parent).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{path} has more than {MAX_BYTES:,} bytes: split the arm")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read as UTF-8: {error}") from error


def _toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at else text.count("\n") + 1 if "end of document" in str(error) else 1
        raise SettingsError(f"{path}:{line}: is not TOML: {_AT_LINE.sub('', str(error))}") from error


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise SettingsError(f"{path}:{line}: is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path}:1: must be an object with one member for each action")
    return found
