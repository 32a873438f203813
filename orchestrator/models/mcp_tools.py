"""An MCP tool as its server describes it: what of it is frozen, its hash, and which effects its hints claim."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_TOOLS: Final = 128
MAX_TOOL_BYTES: Final = 64 * 1024
"""The most bytes of one tool's description and schemas as JSON."""
FROZEN: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
EFFECTS: Final = ("none", "read", "write")
"""From the loosest to the tightest."""
MAX_NAME: Final = 64
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{MAX_NAME - 1}}}")


def frozen_part(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a tool, as tools/list gives them, that must never change unseen."""
    return {name: tool[name] for name in FROZEN if tool.get(name) is not None}


def sha256_of(tool: Mapping[str, Any]) -> str:
    """Return the sha256 of a tool's frozen part, which the order of members does not change."""
    text = json.dumps(frozen_part(tool), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_of_all(tools: Iterable[Mapping[str, Any]]) -> str:
    """Return the sha256 of a set of tools, whatever their order."""
    return hashlib.sha256("\n".join(sorted(map(sha256_of, tools))).encode()).hexdigest()


def action_name(tool_name: str) -> str:
    """Return the name of a tool's action: its own, with `_` for what an action's name can't hold; may be empty."""
    if _NAME.fullmatch(tool_name):
        return tool_name
    return re.sub(r"[^A-Za-z0-9]+", "_", tool_name[:1_000]).strip("_")[:MAX_NAME]


def claimed_effects(tool: Mapping[str, Any]) -> tuple[str, bool]:
    """Return (effects, idempotent) as a tool's hints claim them; without hints it writes, and not idempotently."""
    hints = tool.get("annotations") or {}
    if hints.get("readOnlyHint") is True:
        return "read", True
    return "write", hints.get("idempotentHint") is True


def loosened(tool: Mapping[str, Any], *, effects: str, idempotent: bool) -> str | None:
    """Return what is looser than the tool's own claims, None when nothing is."""
    claimed, claims_idempotent = claimed_effects(tool)
    if EFFECTS.index(effects) < EFFECTS.index(claimed):
        return f"its hints allow effects = {claimed!r} at best, not {effects!r}"
    if idempotent and not claims_idempotent:
        return "it does not claim to be idempotent"
    return None
