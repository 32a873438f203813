"""Blocks of code of a page of documentation, and how a test pastes them into a shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = ["bash", "-euo", "pipefail", "-c"]


def blocks_of(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block of `page`, a path below the project's directory."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(found[1], found[2]) for found in BLOCK.finditer(text)]


def environ(home: Path) -> dict[str, str]:
    """Return the environment of a shell that finds this Python's `octollm`, and its stack in `home`."""
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "OCTOLLM_HOME": str(home), "PATH": binaries, "PROMETHEUS_MULTIPROC_DIR": ""}


def paste(script: str, *, url: str, home: Path, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run a block, with the stack at `url` in place of the one on port 8000."""
    script = script.replace("http://127.0.0.1:8000", url)
    script = script.replace(". .venv/bin/activate", f". {sys.prefix}/bin/activate")
    return subprocess.run(
        [*SHELL, script], cwd=cwd, env=environ(home), capture_output=True, text=True, timeout=100
    )
