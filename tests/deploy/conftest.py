"""Fixtures of the checks of deploy/: tools that other projects make, in a virtualenv of their own.

`make check-deploy` installs them and names their directory in DEPLOY_TOOLS.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.machine import lacks

ROOT = Path(__file__).parents[2]
_LONGEST_SECONDS = 100

RunTool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_tool() -> RunTool:
    """Return a function that runs a tool with arguments in the checkout, and returns its status and what it printed."""
    tools = Path(os.environ.get("DEPLOY_TOOLS") or ROOT / ".venv" / ".deploy-tools" / "bin")
    assert tools.is_dir(), f"{tools} is missing: run `make check-deploy`, which installs the tools"

    def run(name: str, *arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tools / name, *arguments],
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            timeout=_LONGEST_SECONDS,
        )

    return run


@pytest.fixture(scope="session")
def promtool(run_tool: RunTool) -> RunTool:
    """Return a function that runs promtool, which scripts/promtool installs."""
    if run_tool("promtool", "--version").returncode:
        lacks("promtool", package="prometheus")
    return partial(run_tool, "promtool")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of deploy/make_secrets.py."""
    directory = tmp_path_factory.mktemp("deploy") / "secrets"
    program = ROOT / "deploy" / "make_secrets.py"
    subprocess.run([sys.executable, program, directory, "--arm", "weather"], check=True, cwd=ROOT)
    return directory
