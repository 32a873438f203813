"""The Python client as it is installed: a wheel in an environment with nothing else, on each Python there is."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.devserver.stack import Stack

CLIENT = Path(__file__).parents[2] / "clients" / "python"
# the one that runs this, and those beside it that start
PYTHONS = [
    sys.executable,
    *(
        name
        for name in ("python3.12", "python3.13", "python3.14")
        if (found := shutil.which(name))
        and subprocess.run([found, "-V"], capture_output=True).returncode == 0
    ),
]
PROGRAM = """
import json, sys
from importlib.metadata import distributions
from octollm_client import Client

with Client() as client:
    step = {"id": "w", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}
    task = client.run("do it", plan={"steps": [step]})
    events = [event["type"] for event in client.tasks.events(task["task_id"])]
print(json.dumps([task["status"], events[-1], sorted(one.name for one in distributions())]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building writes beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = shutil.copytree(
        CLIENT, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    command = ["uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", str(folder), str(source)], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_has_the_package_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if name.startswith("octollm_client/")}

    sources = {str(path.relative_to(CLIENT)) for path in CLIENT.glob("octollm_client/*.*") if path.is_file()}
    assert packed == sources
    assert "octollm_client/py.typed" in packed


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_it_works_in_an_environment_of_its_own(
    python: str, wheel: Path, stack: Stack, api_key: str, tmp_path: Path
) -> None:
    subprocess.run(["uv", "venv", "--quiet", "--python", python, str(tmp_path / "venv")], check=True)
    inside = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run(
        ["uv", "pip", "install", "--quiet", "--no-config", "--python", inside, str(wheel)], check=True
    )
    environ = {"PATH": os.environ["PATH"], "OCTOLLM_URL": stack.url, "OCTOLLM_API_KEY": api_key}

    done = subprocess.run(
        [inside, "-W", "error", "-c", PROGRAM],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    status, last, installed = json.loads(done.stdout)
    assert (status, last) == ("completed", "task.completed")
    assert "octollm-client" in installed
    assert not {"celery", "flask", "octollm-orchestrator", "pydantic"} & set(installed)
