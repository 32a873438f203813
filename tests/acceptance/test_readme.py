"""README: its lines work when they are pasted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.devstack.stack import Stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(found[1], found[2]) for found in BLOCK.finditer(README)]
LANGUAGES = {"sh", "json", "text"}
# a block that begins with this command is tested there
TESTED_ELSEWHERE = {
    "make demo": "test_demo.py",
    "make up": "test_up.py",
    "export DATABASE_URL": "test_readme.py",
}


def _elsewhere(script: str) -> str | None:
    return next((file for command, file in TESTED_ELSEWHERE.items() if script.startswith(command)), None)


SCRIPTS = [script for language, script in BLOCKS if language == "sh" and not _elsewhere(script)]
PLANS = [script for language, script in BLOCKS if language == "json"]


def test_every_block_is_run_here_or_tested_elsewhere() -> None:
    prose = BLOCK.sub("", README)

    assert {language for language, _ in BLOCKS} == LANGUAGES
    assert "```" not in prose
    assert not re.findall(r"^(?: {4}|\t)\S.*", prose, re.MULTILINE), "indented code is not found by this test"
    assert len(SCRIPTS) >= 3
    for command, file in TESTED_ELSEWHERE.items():
        assert any(script.startswith(command) for _, script in BLOCKS)
        assert (ROOT / "tests" / "acceptance" / file).exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.splitlines()[-1][:40] for script in SCRIPTS])
def test_a_block_works_when_it_is_pasted(stack: Stack, script: str) -> None:
    pasted = script.replace("http://127.0.0.1:8000", stack.url)
    pasted = pasted.replace(". .venv/bin/activate", f". {sys.prefix}/bin/activate")
    binaries = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, "OCTOLLM_HOME": str(stack.home), "PATH": binaries}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", pasted],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"code":' not in done.stdout, "an answer is an error"
    assert done.stdout.count("completed") >= 1
    assert "inconclusive" not in done.stdout


def test_the_plan_that_it_shows_is_the_one_that_is_shipped() -> None:
    shipped = json.loads((ROOT / "examples" / "plans" / "audit.json").read_text(encoding="utf-8"))

    assert [json.loads(plan) for plan in PLANS] == [shipped]
