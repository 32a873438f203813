"""The commands of the README work when they are pasted."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from orchestrator.devserver.child_process import free_port
from orchestrator.devserver.servers import Servers
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.pasted import BLOCK, ROOT, SHELL, blocks_of, environ, paste
from tests.waiting import wait_until

PLAN_FILES = ROOT / "examples" / "plans"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks_of("README.md")
LANGUAGES = {"sh", "json", "text", "console"}
# command at the start of a block -> the test that covers it
SCALE_IT = "export DATABASE_URL"
TESTED_ELSEWHERE = {
    "make demo": "test_demo.py",
    "make up": "test_up.py",
    SCALE_IT: "test_readme.py",
}


def _elsewhere(script: str) -> str | None:
    return next((file for command, file in TESTED_ELSEWHERE.items() if script.startswith(command)), None)


SCRIPTS = [script for language, script in BLOCKS if language == "sh" and not _elsewhere(script)]
TRANSCRIPT = "".join(script for language, script in BLOCKS if language == "console")
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
    done = paste(script, url=stack.url, home=stack.home)

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"code":' not in done.stdout, "an answer is an error"
    assert done.stdout.count("completed") >= 1
    assert "inconclusive" not in done.stdout


def test_the_first_screen_shows_what_its_commands_print(stack: Stack) -> None:
    calls = [call.strip().split("\n") for call in TRANSCRIPT.split("$ ")[1:]]
    assert [command for command, *_ in calls][:2] == ["make demo", "make up"]
    command, *shown = calls[2]

    # other tests ask the same
    done = paste(f"{command} --cache bypass", url=stack.url, home=stack.home)

    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    assert [line for line in shown if line != "..." and line not in printed] == []


def test_the_plan_in_the_readme_is_the_shipped_example() -> None:
    shipped = json.loads((PLAN_FILES / "audit.json").read_text(encoding="utf-8"))

    assert [json.loads(plan) for plan in PLANS] == [shipped]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_scaled_processes_have_common_metrics_and_permits(servers: Servers, tmp_path: Path) -> None:
    (script,) = [script for _, script in BLOCKS if script.startswith(SCALE_IT)]
    port, token = free_port(), tmp_path / "token"
    for placeholder, ours in (
        ("postgresql://user:password@host:5432/octollm", servers.database_url),
        ("redis://host:6379/0", servers.redis_url),
        ("PORT=8000", f"PORT={port}"),
        ("honcho start", f"octollm token --tenant me > {token}; exec honcho start"),
    ):
        assert script.count(placeholder) == 1
        script = script.replace(placeholder, ours)

    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [*SHELL, script], cwd=ROOT, env=environ(tmp_path), stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until(lambda: _get(f"http://127.0.0.1:{port}/ready"), 120, "the system to be ready")
            client = Client(f"http://127.0.0.1:{port}", token.read_text().strip())
            plan = json.loads((PLAN_FILES / "map.json").read_text(encoding="utf-8"))
            task = client.run("Scan three texts", plan=plan)
            ready = json.loads(_get(f"http://127.0.0.1:{port}/ready"))
            counted = 'octollm_arm_invocations_total{arm="safety-guardian",outcome="done"} 3.0'
            wait_until(
                lambda: counted in _get(f"http://127.0.0.1:{port}/metrics"), 10, "metrics of the workers"
            )
        finally:
            running.terminate()
            running.wait(60)

    assert task["status"] == "completed"
    assert ready["warnings"] == []


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
