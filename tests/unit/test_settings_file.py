"""Settings files and a stack's state are found from any working directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.devserver import state_directory
from orchestrator.models.errors import SettingsError
from orchestrator.settings_file import STACK_FILE, read_env_file

NAMES = ("OCTOLLM_ENV_FILE", "OCTOLLM_HOME", "TASK_TIMEOUT", "RETENTION_DAYS", "JWT_ISSUER")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, an environment without our settings, and a user who never ran `octollm up`."""
    for name in NAMES:
        # set first, so that monkeypatch removes what a test adds
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = tmp_path / "work" / "below"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)
    read_env_file.cache_clear()
    return directory


def _stack(home_directory: Path, *, pid: int | None = None) -> Path:
    home_directory.mkdir(parents=True)
    (home_directory / STACK_FILE).write_text("OCTOLLM_URL=http://127.0.0.1:4321\n")
    (home_directory / state_directory.LOCK_FILE).write_text(f"{pid}\n" if pid else "")
    return home_directory


def test_the_environment_takes_precedence_over_the_env_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASK_TIMEOUT", "5")
    (here / ".env").write_bytes(
        b'\xef\xbb\xbf# ours\nexport TASK_TIMEOUT=7\nRETENTION_DAYS="9"  # days\nJWT_ISSUER=$a${HOME}\n'
    )

    assert read_env_file() == here / ".env"

    assert [os.environ[name] for name in NAMES[2:]] == ["5", "9", "$a${HOME}"]
    assert os.environ["OCTOLLM_ENV_FILE"] == str(here / ".env")


def test_a_child_process_elsewhere_reads_its_parents_file_or_none(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_env_file() is None
    (here / ".env").write_text("TASK_TIMEOUT=7\n")
    read_env_file.cache_clear()

    assert read_env_file() is None
    assert "TASK_TIMEOUT" not in os.environ


def test_a_missing_env_file_is_an_error_if_it_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOLLM_ENV_FILE", "no-such-file")

    with pytest.raises(SettingsError, match="no-such-file, which is not a file"):
        read_env_file()


def test_a_server_process_reads_the_env_file_and_logs_it_once(here: Path) -> None:
    (here / ".env").write_text(
        "DATABASE_URL=postgresql://u:p@127.0.0.1:1/d\nREDIS_URL=redis://127.0.0.1:1\nTASK_TIMEOUT=77\n"
    )
    script = """
from orchestrator import settings
from orchestrator.observability import log
chosen = settings.load()
log.configure(chosen, service="worker")
print(chosen.task_timeout)
"""

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "77\n"
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["path"]) == ("settings.env_file", str(here / ".env"))


def test_the_nearest_state_directory_upwards_is_found(here: Path) -> None:
    state = _stack(here.parent / ".octollm")

    assert state_directory.find().path == state


def test_the_state_of_the_last_octollm_up_is_found_from_anywhere(here: Path, tmp_path: Path) -> None:
    state = _stack(tmp_path / "elsewhere")
    state_directory.remember(state)

    found = state_directory.find()

    assert found.path == state
    assert "last started" in found.origin


def test_a_running_stack_takes_precedence_over_a_nearer_stopped_one(here: Path, tmp_path: Path) -> None:
    _stack(here / ".octollm")
    running = _stack(tmp_path / "elsewhere", pid=os.getpid())
    state_directory.remember(running)

    assert state_directory.find().path == running


def test_only_octollm_home_is_searched_if_it_is_set(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stack(here / ".octollm", pid=os.getpid())
    monkeypatch.setenv("OCTOLLM_HOME", "elsewhere")

    assert state_directory.find().path == Path("elsewhere")


def test_another_users_state_is_ignored(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stack(here / ".octollm")
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)

    found = state_directory.find()

    assert str(here) in found.origin
    assert "last-up" in found.origin
