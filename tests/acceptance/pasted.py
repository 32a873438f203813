"""Blocks of code of a page of documentation, and how a test pastes them into a shell."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKDOWN = MarkdownIt("commonmark")
MARK = re.compile(r"<!-- (run by|not run:) ?(.*?) ?-->")
RUN_BY_LANGUAGE = {"sh", "json", "toml", "ini", "yaml", "python", "sql"}
SHELL = ["bash", "-euo", "pipefail", "-c"]


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block of `page`, a path below the project's directory."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(found[1], found[2]) for found in BLOCK.finditer(text)]


@dataclass(frozen=True)
class Block:
    """A block of code: its page and line, its language, its text and the line above it."""

    page: str
    line: int
    language: str
    text: str
    above: str
    is_fence: bool = True

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_ours(self) -> bool:
        """Return whether it is run in this file."""
        return not MARK.fullmatch(self.above)


def blocks_in(page: str, text: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    lines = ["", *text.split("\n")]
    for token in MARKDOWN.parse(text):
        if token.type in {"fence", "code_block"} and token.map:
            first = token.map[0]
            yield Block(
                page, first + 1, token.info, token.content, lines[first].strip(), token.type == "fence"
            )


def faults_of(block: Block) -> Iterator[str]:
    """Yield what is wrong with a block's fence, language or mark."""
    if not block.is_fence:
        yield "is indented: make it a fence with a language"
    if block.above.startswith("<!--") and block.is_ours:
        yield "has a comment above it that is no mark"
    if mark := MARK.fullmatch(block.above):
        kind, said = mark.groups()
        if kind == "run by" and not (
            said.startswith("tests/") and (ROOT / said).is_file() and _names(said, block.page)
        ):
            yield f"is run by {said or 'nothing'}, which is no test that names the page"
        if not said:
            yield "has a mark without a reason"
    elif block.language not in RUN_BY_LANGUAGE:
        yield f"has the language {block.language or '(none)'}, which nothing runs: mark it"


def _names(test: str, page: str) -> bool:
    return page in (ROOT / test).read_text("utf-8").replace('" / "', "/")


def environ(home: Path) -> dict[str, str]:
    """Return the environment of a shell that finds this Python's `octollm`, and its stack in `home`."""
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # other tests of the session may have named their own servers
    servers = {"DATABASE_URL": "", "REDIS_URL": ""}
    return {
        **os.environ,
        **servers,
        "OCTOLLM_HOME": str(home),
        "PATH": binaries,
        "PROMETHEUS_MULTIPROC_DIR": "",
    }


def paste(script: str, *, url: str, home: Path, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run a block, with the stack at `url` in place of the one on port 8000."""
    script = script.replace("http://127.0.0.1:8000", url)
    script = script.replace(". .venv/bin/activate", f". {sys.prefix}/bin/activate")
    return subprocess.run(
        [*SHELL, script], cwd=cwd, env=environ(home), capture_output=True, text=True, timeout=100
    )
