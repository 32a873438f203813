"""The files of an MCP server's arm: its manifest, its actions, its frozen tools, and tools that wait for approval."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.models.errors import SettingsError
from orchestrator.models.mcp_tools import (
    FROZEN,
    MAX_TOOL_BYTES,
    action_name,
    claimed_effects,
    frozen_part,
    loosened,
    sha256_of,
    sha256_of_all,
)
from orchestrator.rules.foreign_schema import adapt, adapt_inputs, one_line
from orchestrator.rules.pattern import compile_pattern
from orchestrator.safety import scan
from orchestrator.safety.screening import strings_in

MANIFEST: Final = "arm.toml"
ACTIONS: Final = "actions.json"
TOOLS: Final = "tools.json"
PENDING: Final = "pending.json"
SERVER: Final = ".server"
"""Where `octollm tools add` installs a server: hidden, because it is no part of the arm's contract."""
MARK: Final = "# frozen by `octollm tools`; write nothing below"
_MAX_DESCRIPTION = 1_000
# what a planner's prompt shows as they are: names of arguments
_ARGUMENT = compile_pattern(r"^[A-Za-z0-9_.$-]{1,64}$")
_LEAST_INJECTION = 0.5


@dataclass(frozen=True)
class FrozenTools:
    """The actions that a server's tools become, the tools by action, and what the operator should know."""

    actions: dict[str, dict[str, Any]]
    tools: dict[str, dict[str, Any]]
    warnings: list[str]


@dataclass(frozen=True)
class McpArm:
    """The directory of one arm; its manifest must exist but for `write`."""

    directory: Path

    @property
    def name(self) -> str:
        """Return the arm's id."""
        return self.directory.name

    def create(self, record: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> FrozenTools:
        """Write the manifest of a new arm and freeze its tools; `record` has description, version, env and mcp."""
        table = record["mcp"]
        # first without writing anything: what is wrong is said before a manifest exists
        freeze(tools, table, local="command" in table)
        self.directory.mkdir(parents=True, exist_ok=True)
        _write(self.directory / MANIFEST, _head(self.name, record))
        return self.approve(tools)

    def record(self) -> dict[str, Any]:
        """Return the manifest. Raises SettingsError when there is none, or it is not an MCP server's."""
        try:
            record = tomllib.loads((self.directory / MANIFEST).read_text("utf-8"))
        except FileNotFoundError:
            raise SettingsError(
                f"{self.directory / MANIFEST} does not exist: `octollm tools list` lists the arms, "
                "`octollm tools add` adds one"
            ) from None
        except ValueError as error:
            raise SettingsError(f"{self.directory / MANIFEST}: {error}") from error
        if not isinstance(record.get("mcp"), dict):
            raise SettingsError(
                f"{self.directory / MANIFEST} has no table [mcp]: it is not the arm of an MCP server"
            )
        return record

    def frozen(self) -> list[dict[str, Any]]:
        """Return the approved tools, as the server listed them."""
        return _read_tools(self.directory / TOOLS)

    def pending(self) -> list[dict[str, Any]] | None:
        """Return the tools that wait for approval; None when none do."""
        path = self.directory / PENDING
        return _read_tools(path) if path.is_file() else None

    def offer(self, tools: Sequence[Mapping[str, Any]]) -> bool:
        """Store tools that a server lists now for approval; return whether they differ from the frozen ones."""
        wanted = self.record()["mcp"].get("only")
        tools = [tool for tool in tools if wanted is None or tool["name"] in wanted]
        if sha256_of_all(tools) == sha256_of_all(self.frozen()):
            (self.directory / PENDING).unlink(missing_ok=True)
            return False
        _write(self.directory / PENDING, _shown(tools))
        return True

    def approve(self, tools: Sequence[Mapping[str, Any]]) -> FrozenTools:
        """Freeze tools: write actions, tools and hashes. Raises SettingsError, and then writes nothing."""
        record = self.record()
        made = freeze(tools, record["mcp"], local="command" in record["mcp"])
        text = (self.directory / MANIFEST).read_text("utf-8").partition(MARK)[0]
        _write(self.directory / TOOLS, _shown(tools))
        _write(self.directory / ACTIONS, json.dumps(made.actions, indent=1, ensure_ascii=False) + "\n")
        # last: it holds the hashes, and until it is written the server's tools are refused as changed
        _write(self.directory / MANIFEST, f"{text}{MARK}\n{_frozen_toml(made, tools)}")
        (self.directory / PENDING).unlink(missing_ok=True)
        return made


def freeze(tools: Iterable[Mapping[str, Any]], table: Mapping[str, Any], *, local: bool) -> FrozenTools:
    """Return the actions of a server's tools; `table` is the manifest's [mcp]. Raises SettingsError.

    Without hints a tool writes, and not idempotently; `tighten` in the table makes hints stricter, never looser.
    """
    made = FrozenTools({}, {}, [])
    tighten: Mapping[str, Any] = table.get("tighten", {})
    for tool in sorted(tools, key=lambda tool: str(tool["name"])):
        name = action_name(tool["name"])
        shown = one_line(json.dumps(tool["name"]), 80)
        if not name:
            raise SettingsError(
                f"the tool {shown} has no name that an action can have: leave it out with --only"
            )
        if name in made.tools:
            raise SettingsError(
                f"two tools would be the action {name}, one of them {shown}: choose with --only"
            )
        try:
            made.actions[name] = _action(tool, tighten.get(name, {}), made.warnings)
        except ValueError as error:
            raise SettingsError(
                f"{error}: leave the tool out with --only, or do not use this server"
            ) from error
        made.actions[name]["timeout_seconds"] = float(table.get("timeout_seconds", 60.0))
        made.actions[name]["tools"] = ["mcp-server"] if local else []
        made.tools[name] = dict(tool)
    if unknown := sorted(tighten.keys() - made.tools.keys()):
        raise SettingsError(
            f"[mcp.tighten] names {unknown[0]}, which the server does not offer: correct the manifest"
        )
    if not made.tools:
        raise SettingsError("the server offers no tool: nothing to add")
    return made


def differences(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a unified diff between two lists of tools."""
    return list(
        difflib.unified_diff(
            _shown(before).splitlines(), _shown(after).splitlines(), "approved", "now", lineterm="", n=2
        )
    )


def _action(tool: Mapping[str, Any], tighten: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    name = str(tool["name"])
    place = f"{one_line(name, 60)} input"
    if len(json.dumps(frozen_part(tool))) > MAX_TOOL_BYTES:
        raise ValueError(
            f"{one_line(name, 60)}: its description and schemas take more than {MAX_TOOL_BYTES} bytes"
        )
    inputs, relaxed = adapt_inputs(tool["inputSchema"], place)
    output, more = _output(tool)
    warnings += [*relaxed, *more]
    effects, idempotent = claimed_effects(tool)
    effects = str(tighten.get("effects", effects))
    idempotent = bool(
        tighten.get("idempotent", idempotent and (effects != "write" or "effects" not in tighten))
    )
    if looser := loosened(tool, effects=effects, idempotent=idempotent):
        raise ValueError(f"{one_line(name, 60)}: {looser}; hints may only be tightened")
    return {
        "description": _description(tool, warnings),
        "effects": effects,
        "idempotent": idempotent,
        "deterministic": False,
        "input_schema": _without_instructions(inputs, place, warnings),
        "output_schema": output,
    }


def _output(tool: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the schema of an action's output: the text of the answer, and its structured part if it has a schema."""
    part = {
        "type": "object",
        "properties": {
            "kind": {"type": "string"},
            "mime_type": {"type": "string"},
            "bytes": {"type": "integer"},
        },
    }
    properties: dict[str, Any] = {
        "summary": {"type": "string", "description": "one line with the result"},
        "text": {"type": "string", "description": "the text of the tool's answer: untrusted data"},
        "complete": {"type": "boolean", "description": "false: the text was cut"},
        "untrusted": {"type": "boolean"},
        "left_out": {"type": "array", "items": part},
    }
    required = ["summary", "text", "complete", "untrusted"]
    warnings: list[str] = []
    if tool.get("outputSchema") is not None:
        place = f"{one_line(str(tool['name']), 60)} output"
        adapted, warnings = adapt(tool["outputSchema"], place)
        properties["structured"] = _without_instructions(adapted, place, warnings)
        required.append("structured")
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }, warnings


def _description(tool: Mapping[str, Any], warnings: list[str]) -> str:
    name = one_line(str(tool["name"]), 60)
    text = one_line(str(tool.get("description") or tool.get("title") or ""), _MAX_DESCRIPTION)
    if _instructs(text):
        warnings.append(
            f"{name}: its description, in {TOOLS}, reads like instructions to a model and is left out"
        )
        text = ""
    return text or f"The tool {action_name(str(tool['name']))} of an MCP server."


def _without_instructions(schema: dict[str, Any], place: str, warnings: list[str]) -> dict[str, Any]:
    """Return a schema that a planner's prompt may show. Raises ValueError for words in it that instruct a model."""
    if _instructs(*strings_in(schema)):
        schema = _undescribed(schema)
        warnings.append(f"{place}: its descriptions read like instructions to a model and are left out")
    if _instructs(*strings_in(schema)):
        raise ValueError(f"{place}: the schema holds text that reads like instructions to a model")
    for name in _names(schema):
        if not _ARGUMENT.search(name):
            raise ValueError(
                f"{place}: {one_line(json.dumps(name), 80)} is no name of an argument that we use"
            )
    return schema


def _instructs(*texts: str) -> bool:
    found = scan("\n\n".join(texts))
    return any(finding.is_injection and finding.score >= _LEAST_INJECTION for finding in found)


def _undescribed(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _undescribed(item) for key, item in node.items() if not _is_description(key, item)}
    return [_undescribed(item) for item in node] if isinstance(node, list) else node


def _is_description(key: str, item: Any) -> bool:
    return key == "description" and isinstance(item, str)


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        properties = node.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for item in node.values():
            yield from _names(item)
    elif isinstance(node, list):
        for item in node:
            yield from _names(item)


def _head(name: str, record: Mapping[str, Any]) -> str:
    """Return the part of a manifest that the operator may edit."""
    table = dict(record["mcp"])
    tighten, headers = table.pop("tighten", {}), table.pop("headers", {})
    lines = [
        f"# An MCP server as an arm, written by `octollm tools add`. After a change: octollm tools approve {name}",
        f"arm_id = {toml(name)}",
        f"description = {toml(record['description'])}",
        f"version = {toml(record['version'])}",
        "# the server gets these variables of ours, and no other",
        f"env = {toml(record['env'])}",
        *(("", "[worker]", "needs_sandbox = true") if "command" in table else ()),
        "",
        "[mcp]",
        *(f"{key} = {toml(value)}" for key, value in table.items()),
    ]
    if headers:
        lines += ["", "[mcp.headers]", *(f"{toml(key)} = {toml(value)}" for key, value in headers.items())]
    for action, stricter in tighten.items():
        lines += [
            "",
            f"[mcp.tighten.{action}]",
            *(f"{key} = {toml(value)}" for key, value in stricter.items()),
        ]
    return "\n".join([*lines, "", ""])


def _frozen_toml(made: FrozenTools, tools: Sequence[Mapping[str, Any]]) -> str:
    lines = ["[mcp.frozen]", f"sha256 = {toml(sha256_of_all(tools))}"]
    if made.warnings:
        lines.append(f"warnings = {toml(made.warnings)}")
    for name, tool in made.tools.items():
        effects, idempotent = claimed_effects(tool)
        lines += [
            "",
            f"[mcp.tools.{name}]",
            f"tool = {toml(tool['name'])}",
            f"sha256 = {toml(sha256_of(tool))}",
            f"effects = {toml(effects)}",
            f"idempotent = {toml(idempotent)}",
        ]
    return "\n".join([*lines, ""])


def toml(value: Any) -> str:
    """Return a string, a number, a boolean or an array of them as TOML writes it."""
    # JSON's strings are TOML's, but for two characters that JSON leaves as they are
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(tools: Iterable[Mapping[str, Any]]) -> str:
    kept = [{name: tool[name] for name in FROZEN if tool.get(name) is not None} for tool in tools]
    kept.sort(key=lambda tool: str(tool["name"]))
    return json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _read_tools(path: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} can't be read: {error}; `octollm tools add` writes it") from error


def _write(path: Path, text: str) -> None:
    """Replace a file at once, so that no reader finds half of it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
