"""Fits what we write to who reads it: a terminal of another encoding, a pipe that was closed."""

import codecs
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import click

from orchestrator.settings_file import read_env_file

_HANDLER = "octollm.nearest"
_ASCII = {
    "✓": "+", "✗": "x", "↻": "~", "▶": ">", "○": "o", "■": "#", "·": "-", "–": "-", "—": "-", "…": "...",
    "“": '"', "”": '"', "‘": "'", "’": "'", "━": "-", "╸": "-", "╺": "-", "→": "->",
}  # fmt: skip


def prepare() -> None:
    """Have characters that the encoding of stdout or stderr lacks written as the nearest that it has."""
    codecs.register_error(_HANDLER, _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def tell_env_file() -> None:
    """Say on stderr which file settings were read from, if one was."""
    if env_file := read_env_file():
        click.echo(f"settings: {env_file} (what the environment holds goes before it)", err=True)


def json_text(document: Any) -> str:
    """Return a document as JSON for stdout: with other characters escaped, unless stdout takes them all."""
    return json.dumps(document, indent=2, ensure_ascii=not _takes_all(sys.stdout.encoding))


@contextmanager
def ends_by_closed_pipe() -> Iterator[None]:
    """End the process by SIGPIPE, as other programs do, when whoever read its output (head, less) has gone."""
    try:
        yield
    except BrokenPipeError:
        # nothing may be flushed into it any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in lost), error.end


def _takes_all(encoding: str | None) -> bool:
    return codecs.lookup(encoding or "ascii").name in {"utf-8", "utf-16", "utf-32"}
