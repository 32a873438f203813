"""Builds a task contract from what stands on the command line: goal, criteria, files."""

import json
import mimetypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from orchestrator import archive
from orchestrator.cli.server import Server


def read_goal(text: str) -> str:
    """Return the goal; `-` reads it from standard input."""
    goal = sys.stdin.read() if text == "-" else text
    if not goal.strip():
        raise click.BadParameter("is empty", param_hint="GOAL")
    return goal


def read_criterion(text: str) -> str | dict[str, Any]:
    """Return a criterion: words, or JSON {"text": ..., "check": {...}} when it begins with a brace."""
    if not text.lstrip().startswith("{"):
        return text
    criterion = _decode(text, "--criteria")
    if not isinstance(criterion, dict):
        raise click.BadParameter("must be an object {text, check}", param_hint="--criteria")
    return criterion


def read_plan(path: Path) -> Any:
    """Return the plan in a JSON file: {"steps": [...]} or a bare list of steps."""
    plan = _decode(_read(path, "--plan"), f"--plan {path}")
    return {"steps": plan} if isinstance(plan, list) else plan


def read_context(path: Path) -> Any:
    """Return a context file: an object when it holds one in JSON, else its text."""
    text = _read(path, "--context")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def upload_all(server: Server, paths: Sequence[Path]) -> list[str]:
    """Send each file, and each directory as one archive, to the server; return the artifacts' ids."""
    return [upload(server, path)["artifact_id"] for path in paths]


def upload(server: Server, path: Path) -> dict[str, Any]:
    """Send a file, or a directory as one archive; return the server's description of it."""
    name = path.resolve().name
    if path.is_dir():
        content, media_type, name = archive.pack(path), "application/gzip", f"{name}.tar.gz"
    else:
        content = path.read_bytes()
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    described: dict[str, Any] = server.upload(
        f"/v1/files?filename={quote(name)}", content=content, media_type=media_type, headers={}
    )
    return described


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{path} is not UTF-8 text", param_hint=option) from error


def _decode(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint=option) from error
