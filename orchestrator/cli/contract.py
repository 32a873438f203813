"""Builds a task contract from what stands on the command line: goal, criteria, files."""

import codecs
import json
import mimetypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from orchestrator.cli.server import Server
from orchestrator.safety import archive


def read_goal(text: str) -> str:
    """Return the goal; `-` reads it from standard input."""
    goal = _standard_input("GOAL") if text == "-" else text
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
    # a name that is no UTF-8 can't be sent as it is
    name = os.fsencode(path.resolve().name).decode("utf-8", "replace")
    if path.is_dir():
        content, media_type, name = archive.pack(path), "application/gzip", f"{name}.tar.gz"
    else:
        content = path.read_bytes()
        if not content:
            raise click.BadParameter(f"{path} is empty: there is nothing to send", param_hint="--attach")
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    described: dict[str, Any] = server.upload(
        f"/v1/files?filename={quote(name)}", content=content, media_type=media_type, headers={}
    )
    return described


def _read(path: Path, option: str) -> str:
    if str(path) == "-":
        return _standard_input(option)
    return _text(path.read_bytes(), str(path), option)


def _standard_input(option: str) -> str:
    """Return what stands there: as a file would, or in the encoding of the terminal."""
    content = sys.stdin.buffer.read()
    try:
        return _text(content, "standard input", option)
    except click.BadParameter:
        if codecs.lookup(sys.stdin.encoding).name == "utf-8":
            raise
        return content.decode(sys.stdin.encoding, "replace")


def _text(content: bytes, source: str, option: str) -> str:
    """Return a text in UTF-8, after a byte order mark or without, or in UTF-16 after one."""
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{source} is not UTF-8 text", param_hint=option) from error


def _decode(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint=option) from error
