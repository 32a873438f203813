"""What follows from the arms of ARMS_PATH in a process that starts with them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.arm_capability import ALL_QUEUES, ARMS, registry_digest
from orchestrator.registry.sources import BUILT_IN

ROOT = Path(__file__).parents[2]
MANIFEST = """
arm_id = "{arm}"
description = "Tells tomorrow's weather of a city"
env = ["{variable}", "SHARED_TOKEN"]
worker = {{ module = "{arm}_arm", pool = "{pool}", asks_models = {asks} }}

[actions.forecast]
description = "Forecasts the weather."
effects = "read"
"""
FACTS = """
import json
from orchestrator.devserver.stack import ONE_OF_EACH
from orchestrator.models.arm_capability import ALL_QUEUES, ARMS, registry_digest
from orchestrator.process.process_kind import KINDS, ROLES, environment_of

names = ["WEATHER_KEY", "SKY_KEY", "SHARED_TOKEN", "OPENAI_API_KEY", "OTHER"]
whole = dict.fromkeys(names, "x")

def given(kind, *arms):
    return [name for name in environment_of(kind, whole, arms=arms) if name in whole]

print(json.dumps({
    "arms": list(ARMS), "queues": ALL_QUEUES, "processes": dict(ONE_OF_EACH), "kinds": KINDS, "role": ROLES["arms"],
    "digest": registry_digest(),
    "weather": given("arms", "weather"), "both": given("arms", "weather", "sky"), "executor": given("executor"),
    "planner": given("planner"), "served": environment_of("arms", whole, arms=["weather", "sky"])["ARMS"],
}))
"""


def run(arms_path: Path, *program: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python with ARMS_PATH."""
    return subprocess.run(
        [sys.executable, *program], cwd=ROOT, env={**os.environ, "ARMS_PATH": str(arms_path), **environ},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def arms_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two arms."""
    directory = tmp_path_factory.mktemp("arms")
    for arm, pool, asks in (("weather", "threads", "false"), ("sky", "prefork", "true")):
        text = MANIFEST.format(arm=arm, variable=f"{arm.upper()}_KEY", pool=pool, asks=asks)
        (directory / f"{arm}.toml").write_text(text)
    return directory


@pytest.fixture(scope="module")
def facts(arms_path: Path) -> dict[str, Any]:
    """What a process with the two arms says."""
    ran = run(arms_path, "-c", FACTS)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def test_they_have_queues_and_change_the_digest(facts: dict[str, Any]) -> None:
    # other tests of this process may know further arms
    built_in = [arm.arm_id for arm in ARMS.values() if arm.source == BUILT_IN]
    assert facts["arms"] == [*built_in, "sky", "weather"]
    assert set(facts["queues"]) == {*ALL_QUEUES, "arm.sky", "arm.weather"}
    assert facts["digest"] != registry_digest()


def test_up_starts_one_process_for_each_and_they_are_one_kind_of_process(facts: dict[str, Any]) -> None:
    processes = facts["processes"]

    assert (processes["weather"], processes["sky"]) == (1, 1)
    assert "arms" not in processes
    assert facts["kinds"].count("arms") == 1
    assert facts["role"] == "octollm_arm"


def test_only_an_arm_s_own_processes_get_its_variables(facts: dict[str, Any]) -> None:
    assert facts["weather"] == ["WEATHER_KEY", "SHARED_TOKEN", "OTHER"]
    assert facts["both"] == ["WEATHER_KEY", "SKY_KEY", "SHARED_TOKEN", "OPENAI_API_KEY", "OTHER"]
    assert facts["executor"] == ["OTHER"]
    assert facts["planner"] == ["OPENAI_API_KEY", "OTHER"]
    assert facts["served"] == "weather,sky"


def test_a_variable_of_ours_can_not_be_taken_from_other_processes(tmp_path: Path) -> None:
    text = MANIFEST.format(arm="weather", variable="CACHE_SECRET", pool="threads", asks="false")
    (tmp_path / "weather.toml").write_text(text)

    ran = run(
        tmp_path,
        "-c",
        "from orchestrator import settings; settings.load()",
        DATABASE_URL="postgresql://x/y",
        REDIS_URL="redis://x/0",
    )

    assert (
        "the manifest of the arm weather names CACHE_SECRET in env, which OctoLLM itself reads" in ran.stderr
    )


def test_the_command_line_lists_them_with_source_pool_and_effects(arms_path: Path) -> None:
    shown = run(arms_path, "-c", "from orchestrator.cli.main import main; main(['arm', 'list'])")

    assert shown.returncode == 0, shown.stderr
    lines = [line.split() for line in shown.stdout.splitlines()]
    place = lines.index(["sky", "ARMS_PATH", "function", "prefork", "4", "arm.sky"])
    assert lines[place + 1] == ["forecast", "read"]
    assert ["coder", "built-in", "builtin", "prefork", "2", "arm.coder"] in lines


def test_a_bad_manifest_stops_a_worker_and_a_command_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "weather.toml").write_text('arm_id = "weather"\n')
    fault = f"{tmp_path / 'weather.toml'}:1: description is missing"

    worker = run(tmp_path, "-m", "workers", "--arms", "weather")
    command = run(tmp_path, "-c", "from orchestrator.cli.main import main; main(['arm', 'list'])")

    for ended in (worker, command):
        assert ended.returncode == 1
        assert fault in ended.stderr
        assert "Traceback" not in ended.stderr
