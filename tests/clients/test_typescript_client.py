"""The TypeScript client: its package, its types, and what it does against a running stack under node."""

import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.devserver.stack import Stack
from tests.acceptance.plans import collect, verify, wait

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
TSC = ROOT / "api" / "console" / "vendor" / "node_modules" / "typescript" / "bin" / "tsc"
PAGES = (ROOT / "clients" / "typescript" / "README.md", ROOT / "docs" / "how-to" / "use-the-clients.md")
PLANS = {
    "collect": {"steps": [collect("a", {"n": 3})], "result": {"n": {"$from": "a", "pointer": "/values/n"}}},
    "failing": {"steps": [verify("v", 1, {"pointer": "", "equals": 2})]},
    "long": {"steps": [wait("w", 60)]},
    "slow": {"steps": [wait(f"s{n}", 0.3, *([f"s{n - 1}"] if n else [])) for n in range(8)]},
    "wrong": {"steps": [{"id": "a", "arm": "nobody", "action": "none"}]},
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm pack` would publish."""
    folder = tmp_path_factory.mktemp("packed")
    command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=CLIENT, check=True, capture_output=True)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / "package"


@pytest.fixture(scope="module")
def program(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """test/usage.ts, compiled as an application that has installed the package."""
    folder = tmp_path_factory.mktemp("application")
    shutil.copytree(packed, folder / "node_modules" / "octollm-client")
    for source in (CLIENT / "test").glob("*.ts"):
        shutil.copy(source, folder)
    for number, page in enumerate(PAGES):
        (block,) = re.findall(r"^```ts\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        (folder / f"page{number}.ts").write_text(block)
    (folder / "package.json").write_text('{"type": "module"}')
    options = ["--strict", "--module", "nodenext", "--target", "es2023"]
    libraries = ["--lib", "es2023,dom,dom.iterable,dom.asynciterable"]
    _tsc(*options, *libraries, *(path.name for path in folder.glob("*.ts")), cwd=folder)
    return folder / "usage.js"


def test_the_package_has_its_files_and_no_dependency(packed: Path) -> None:
    manifest = json.loads((packed / "package.json").read_text())
    files = {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()}

    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & set(manifest)
    assert files == {
        "README.md",
        "package.json",
        *(f"lib/{path.name}" for path in (CLIENT / "lib").iterdir()),
    }


def test_its_own_code_has_no_type_error() -> None:
    _tsc("--project", "tsconfig.json", cwd=CLIENT)


def test_it_does_what_its_types_say(program: Path, stack: Stack, api_key: str) -> None:
    said = dict(_run(program, "everything", stack, api_key))

    assert said == {
        "run": ["completed", {"n": 3}],
        "file": ["notes.txt", "text/plain", "three words here"],
        "pages": True,
        "once": True,
        "timeout": ["WaitTimeout", "processing"],
        "cancelled": "cancelled",
        "failed": ["TaskFailed", "failed"],
        "refused": ["InvalidPlan", ["invalid_plan", 422, True]],
        "odd": ["TypeError", None],
        "ready": True,
        "arms": True,
    }


def test_no_event_is_lost_or_doubled_when_the_api_is_killed_meanwhile(
    program: Path, stack: Stack, api_key: str
) -> None:
    seen, stored = [], 0
    killed: set[int] = set()

    for name, value in _run(program, "follow", stack, api_key):
        if name == "stored":
            stored = value
            continue
        seen.append(value[0])
        if value[1] == "step.completed" and len(killed) < 2:
            for pid in stack.pids("web"):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)

    assert len(killed) >= 2
    assert seen == list(range(1, stored + 1))


@pytest.mark.parametrize("number", range(len(PAGES)))
def test_what_the_pages_show_compiles_and_runs(
    number: int, program: Path, stack: Stack, api_key: str
) -> None:
    environ = {**os.environ, "OCTOLLM_URL": stack.url, "OCTOLLM_API_KEY": api_key}

    done = subprocess.run(
        ["node", f"page{number}.js"], cwd=program.parent, env=environ, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "task.completed" in done.stdout


def _tsc(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["node", str(TSC), *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _run(program: Path, scenario: str, stack: Stack, api_key: str) -> Iterator[tuple[str, Any]]:
    environ = {**os.environ, "OCTOLLM_URL": stack.url, "OCTOLLM_API_KEY": api_key}
    environ.pop("OCTOLLM_TOKEN", None)
    command = ["node", program.name, scenario, json.dumps(PLANS)]
    with subprocess.Popen(
        command, cwd=program.parent, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        assert running.stderr
        for line in running.stdout:
            name, value = json.loads(line)
            yield name, value
        told = running.stderr.read()
    assert running.returncode == 0, told
