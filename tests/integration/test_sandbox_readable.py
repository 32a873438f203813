"""A tool can read Python and nothing beside it, wherever the worker's interpreter is installed."""

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration import attacks
from tests.integration.sandbox_kit import kinds_here

ROOT = Path(__file__).parents[2]
_READ = """
import os, sys
from pathlib import Path
from tests.integration import attacks
from tests.integration.sandbox_kit import guarded, kinds_here
inputs = Path(sys.argv[1])
inputs.mkdir()
for kind in kinds_here().values():
    runs = guarded(kind, "print('runs')", inputs=inputs)
    read = [guarded(kind, attacks.READ_FILE, path, inputs=inputs).stdout for path in sys.argv[2:]]
    print(runs.exit_code, runs.stdout, b"".join(read))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a Python installed by uv, and links to it in ~/.local/bin and ~/bin."""
    home = tmp_path / "home"
    real = home / ".local" / "share" / "uv" / "python" / "cpython-3-linux"
    for place in (real, home / ".local" / "bin", home / "bin", home / ".ssh"):
        place.mkdir(parents=True)
    base = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # not in typeshed
    # the interpreter itself is not moved: it finds its library next to its real path
    (real / "bin").symlink_to(base.parent)
    (home / ".local" / "share" / "uv" / "python" / "cpython-3").symlink_to(real.name)
    (home / ".local" / "bin" / "python3").symlink_to("../share/uv/python/cpython-3/bin/" + base.name)
    (home / "bin" / "python3").symlink_to(home / ".local" / "bin" / "python3")
    return home


def virtual_environment(place: Path, interpreter: Path) -> Path:
    """Make a virtual environment of `interpreter` that sees the packages of this one; return its Python."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "all.pth").write_text("\n".join(site.getsitepackages()))
    (place / "bin").mkdir(exist_ok=True)
    (place / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")
    python = place / "bin" / "python"
    python.symlink_to(interpreter)
    return python


def secrets_of(home: Path) -> list[str]:
    """Write secrets in the home, next to links and next to the interpreter; return their paths."""
    places = (".ssh/id_ed25519", ".netrc", ".local/bin/token", ".local/share/keyring", "bin/token")
    for name in places:
        (home / name).write_text(attacks.SECRET)
    return [str(home / name) for name in places]


def test_the_neighbours_of_a_link_to_the_interpreter_can_not_be_read(home: Path, tmp_path: Path) -> None:
    secrets = secrets_of(home)
    python = virtual_environment(tmp_path / "venv", home / "bin" / "python3")

    told = subprocess.run(
        [python, "-c", _READ, str(tmp_path / "work"), *secrets],
        cwd=ROOT,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert told.stdout.splitlines() == [r"0 b'runs\n' b''"] * len(kinds_here()), told.stderr


def test_a_sandbox_that_can_read_the_home_is_not_used(home: Path) -> None:
    secrets_of(home)
    # `python -m venv ~`: the whole home is Python's prefix
    python = virtual_environment(home, home / ".local" / "bin" / "python3")

    status = status_of(python, HOME=str(home))

    assert status["isolation"] == "none"
    assert status["reason"].count("read the home directory of the worker's user") == len(kinds_here())


def test_a_sandbox_that_can_read_the_state_directory_is_not_used(tmp_path: Path) -> None:
    python = virtual_environment(
        tmp_path / "venv",
        Path(sys._base_executable),  # type: ignore[attr-defined]  # not in typeshed
    )
    state = tmp_path / "venv" / "state"
    state.mkdir()

    status = status_of(python, OCTOLLM_HOME=str(state))

    assert status["isolation"] == "none"
    assert status["reason"].count("read OctoLLM's state directory") == len(kinds_here())


def status_of(python: Path, **environment: str) -> dict[str, str]:
    """Return what a worker with `python` finds when it tests its sandboxes."""
    told = subprocess.run(
        [python, "-m", "workers.sandbox", "basic"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
        check=True,
    )
    status: dict[str, str] = json.loads(told.stdout)
    return status
