"""Writes output that suits the terminal's encoding, as JSON on request, and ends quietly on a closed pipe."""

import codecs
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
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
    """Replace characters that the encoding of stdout or stderr lacks by similar ASCII ones."""
    codecs.register_error(_HANDLER, _nearest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def print_env_file() -> None:
    """Print on stderr which file the settings were read from, if any."""
    if env_file := read_env_file():
        click.echo(f"settings: {env_file} (environment variables override it)", err=True)


def json_text(document: Any) -> str:
    """Return a document as JSON, in ASCII unless the encoding of stdout can represent every character."""
    return json.dumps(document, indent=2, ensure_ascii=not _is_unicode(sys.stdout.encoding))


def printable(text: str) -> str:
    """Return a text on one line whose invisible characters (controls, changes of direction) are shown as escapes.

    Someone decides by what is shown, so a text of others must not move the cursor or reorder what stands beside it.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def local_time(text: str) -> str:
    """Return a time of the API in this machine's time zone, to the second."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


@contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """End the process by SIGPIPE, as other programs do, when the reader of its output (head, less) has exited."""
    try:
        yield
    except BrokenPipeError:
        # the interpreter flushes stdout at exit, which would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in lost), error.end


def _is_unicode(encoding: str | None) -> bool:
    return codecs.lookup(encoding or "ascii").name in {"utf-8", "utf-16", "utf-32"}
