"""A tool reads Python and nothing that lies beside it, wherever the worker's user has put its interpreter."""

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
    """A home directory in which uv has put a Python, with links to it in ~/.local/bin and in ~/bin."""
    home = tmp_path / "home"
    real = home / ".local" / "share" / "uv" / "python" / "cpython-3-linux"
    for place in (real, home / ".local" / "bin", home / "bin", home / ".ssh"):
        place.mkdir(parents=True)
    base = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # not in typeshed
    # the interpreter itself stays where it is: it finds its library beside its real place
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
    """Write secrets that lie in the home, near links and near the interpreter; return their paths."""
    places = (".ssh/id_ed25519", ".netrc", ".local/bin/token", ".local/share/keyring", "bin/token")
    for name in places:
        (home / name).write_text(attacks.SECRET)
    return [str(home / name) for name in places]


def test_what_lies_beside_a_link_to_the_interpreter_can_not_be_read(home: Path, tmp_path: Path) -> None:
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


def test_no_sandbox_is_used_in_which_the_home_can_be_read(home: Path) -> None:
    secrets_of(home)
    # `python -m venv ~`: all of the home belongs to Python
    python = virtual_environment(home, home / ".local" / "bin" / "python3")

    status = status_of(python, HOME=str(home))

    assert status["isolation"] == "none"
    assert status["reason"].count("read the home directory of the worker's user") == len(kinds_here())


def test_no_sandbox_is_used_in_which_the_state_directory_can_be_read(tmp_path: Path) -> None:
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
    """Return what a worker of `python` would find when it tests its sandboxes."""
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
