"""Starts an MCP server as its arm's manifest says, with no more access than it states."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.auth.egress import EgressRules
from orchestrator.models.errors import ToolFailed
from workers.mcp.session import Peer
from workers.mcp.transport import PipePeer
from workers.sandbox.backend import MEBIBYTE, Access, ToolLimits
from workers.sandbox.selection import Sandbox, SandboxStatus
from workers.sandbox.server import SandboxedServer, ServerCommand

_PATH = "/usr/local/bin:/usr/bin:/bin"
VARIABLES: Mapping[str, str] = {
    "PATH": _PATH,
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONDONTWRITEBYTECODE": "1",
    # git ends when it may not read /etc/gitconfig, which could hold credentials
    "GIT_CONFIG_NOSYSTEM": "1",
    # git refuses the repositories of other users, and the sandbox of root's worker has a user of its own; which
    # repositories are read is for the manifest to say
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}
"""The environment of every server, beside HOME and TMPDIR."""
# node ends when it may not read it
_PUBLIC_FILES = (Path("/etc/ssl/openssl.cnf"),)
_DEFAULT_MEMORY_MIB = 2_048
# a server lives for hours, and its processor time counts from its start
_CPU_SECONDS = 3_600
_OPEN_FILES = 1_024


def starter_of(
    table: Mapping[str, Any], env: Iterable[str], *, status: SandboxStatus, rules: EgressRules | None
) -> Callable[[], Peer]:
    """Return what starts or reaches the server of a manifest's table [mcp]; `env` names the variables that it gets.

    The function that is returned raises SandboxUnavailable, and ToolFailed for a directory that does not exist and for
    a URL that `rules` do not allow.
    """
    if "url" in table:
        return partial(_reached, table, tuple(env), rules)
    variables = {**VARIABLES, **{name: os.environ[name] for name in env if name in os.environ}}

    def start() -> Peer:
        sandbox = status.require()
        command = ServerCommand(_argv(table["command"]), variables, _access(table))
        return PipePeer(SandboxedServer(Sandbox(sandbox.backend, limits_of(table)), command))

    return start


def _reached(table: Mapping[str, Any], env: tuple[str, ...], rules: EgressRules | None) -> Peer:
    # it needs the HTTP client, which local servers do not
    from workers.mcp.http import HttpPeer  # noqa: PLC0415

    if rules is None:
        raise LookupError("this process has no rules for the URLs of arms")
    return HttpPeer.of(table, env, rules)


def limits_of(table: Mapping[str, Any]) -> ToolLimits:
    """Return the limits of a server's processes."""
    memory = int(table.get("memory_mib", _DEFAULT_MEMORY_MIB)) * MEBIBYTE
    return replace(
        ToolLimits(),
        cpu_seconds=_CPU_SECONDS,
        memory_bytes=memory,
        tree_memory_bytes=memory // 2,
        open_files=_OPEN_FILES,
    )


def _argv(command: Iterable[str]) -> tuple[str, ...]:
    program, *arguments = command
    return (shutil.which(program, path=_PATH) or program, *arguments)


def _access(table: Mapping[str, Any]) -> Access:
    return Access(
        readable=(
            *(_existing(path) for path in table.get("reads", ())),
            *(path.resolve() for path in _PUBLIC_FILES if path.exists()),
        ),
        writable=tuple(_existing(path) for path in table.get("writes", ())),
        network=bool(table.get("network", False)),
    )


def _existing(path: str) -> Path:
    if not Path(path).exists():
        raise ToolFailed(
            f"{path}, which the arm's manifest names under [mcp], does not exist: make it, or correct it"
        )
    return Path(path).resolve()
