"""`octollm up` prints one line when it is ready, and leaves no process, however it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.devserver import child_process
from orchestrator.devserver.stack import Stack
from tests.waiting import wait_until

WEATHER = """
arm_id = "weather"
description = "Tells tomorrow's weather of a city"
worker = { module = "weather_arm" }

[actions.forecast]
description = "Forecasts the weather."
effects = "read"
"""
FORECAST = """
from orchestrator.sdk import action

@action(effects="read")
def forecast() -> str:
    'Forecasts the weather.'
    return "sun"
"""
READY = re.compile(r"^ready (http://127\.0\.0\.1:\d+)$")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A state directory that the tests of this file share."""
    with tempfile.TemporaryDirectory(prefix="octollm-up-") as path:
        yield Path(path)


@pytest.mark.slow
def test_it_prints_ready_and_leaves_nothing_after_an_interrupt(home: Path) -> None:
    with _up(home) as running:
        url = _ready(running)
        with urllib.request.urlopen(f"{url}/ready") as answer:
            assert json.load(answer)["ready"] is True
        started = _processes_of(home)

        running.send_signal(signal.SIGINT)
        rest, told = running.communicate(timeout=60)

    assert running.returncode == 0
    assert len(started) >= 10
    assert (rest, _processes_of(home)) == ("", [])
    assert [f"  API     {url}/v1", f"  docs    {url}/docs"] == re.findall(
        r"^  (?:API|docs) .*", told, re.MULTILINE
    )
    assert f"  console {url}/sign-in#code=" in told
    assert "  Flower  off; set FLOWER_BASIC_AUTH=user:password to start it" in told
    assert "no model is configured: recipes plan" in told
    assert 'octollm run "Audit this Python package" --attach' in told
    assert "stopping: running steps get 35 s" in told


def test_a_second_one_in_the_same_state_directory_is_refused(stack: Stack) -> None:
    second = subprocess.run(_command(), env=_environ(stack.home), capture_output=True, text=True, timeout=60)

    assert second.returncode != 0
    assert f"(process {os.getpid()}) runs in {stack.home}" in second.stderr
    assert "Traceback" not in second.stderr
    assert _is_ready(stack.url)


def test_an_error_names_a_port_in_use(stack: Stack, home: Path) -> None:
    refused = subprocess.run(
        _command(stack.port), env=_environ(home), capture_output=True, text=True, timeout=60
    )

    assert refused.returncode != 0
    assert f"port {stack.port} is taken" in refused.stderr


def test_settings_of_the_env_file_are_used_and_the_file_is_named(
    stack: Stack, home: Path, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"PORT={stack.port}\nFLOWER_BASIC_AUTH=me:secret\n")
    environ = {
        name: text for name, text in _environ(home).items() if name not in ("PORT", "OCTOLLM_ENV_FILE")
    }

    refused = subprocess.run(
        _command()[:2], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )

    assert f"port {stack.port} is taken" in refused.stderr
    assert f"settings: {tmp_path / '.env'} (environment variables override it)" in refused.stderr


@pytest.mark.slow
def test_it_runs_a_process_for_each_arm_of_one_s_own_and_restarts_it(home: Path, tmp_path: Path) -> None:
    (tmp_path / "arms" / "weather").mkdir(parents=True)
    (tmp_path / "arms" / "weather" / "arm.toml").write_text(WEATHER)
    (tmp_path / "arms" / "weather" / "weather_arm.py").write_text(FORECAST)
    (tmp_path / ".env").write_text("ARMS_PATH=arms\n")

    with _up(home, cwd=tmp_path, environ={"OCTOLLM_ENV_FILE": str(tmp_path / ".env")}) as running:
        url = _ready(running)
        (first,) = _workers_of("weather", home)
        assert _workers_ready(url)["weather"] == 1
        with _one_more_worker("weather", home, arms=tmp_path / "arms") as second:
            wait_until(lambda: _workers_ready(url)["weather"] == 2, 60, "a second worker of weather")
            kept = {name.partition(b"=")[0].decode() for name in _environ_of(second.pid)}

        os.kill(first, signal.SIGKILL)

        wait_until(lambda: _workers_of("weather", home) not in ([], [first]), 60, "another worker of weather")
    assert kept >= {"DATABASE_URL", "REDIS_URL", "CACHE_SECRET", "ARMS"}
    assert not kept & {"JWT_PRIVATE_KEY", "WEBHOOK_SECRET", "PERMIT_PRIVATE_KEY"}


@pytest.mark.slow
def test_sigkill_leaves_no_process(home: Path) -> None:
    with _up(home) as running:
        _ready(running)
        started = _processes_of(home)

        running.kill()
        running.wait()

        wait_until(lambda: not _processes_of(home), 20, f"the end of {started}")


def test_a_process_that_dies_is_restarted(stack: Stack) -> None:
    (before,) = stack.pids("retriever")

    os.kill(before, signal.SIGKILL)

    wait_until(lambda: stack.pids("retriever") not in ([], [before]), 30, "another retriever")
    wait_until(lambda: _is_ready(stack.url), 60, "the stack to be ready again")


@contextmanager
def _up(
    home: Path, *, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(
        _command(),
        env={**_environ(home), **(environ or {})},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(timeout=60)


@contextmanager
def _one_more_worker(arm: str, home: Path, *, arms: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `octollm worker` beside the stack of `home`, as an operator does."""
    environ = {
        name: text for name, text in _environ(home).items() if name not in ("DATABASE_URL", "REDIS_URL")
    }
    command = [str(Path(sys.executable).with_name("octollm")), "worker", "--arm", arm, "-c", "8"]
    with (
        (home / "one_more.log").open("wb") as log,
        subprocess.Popen(
            command, env={**environ, "ARMS_PATH": str(arms)}, stdout=log, stderr=subprocess.STDOUT
        ) as worker,
    ):
        try:
            yield worker
        finally:
            worker.terminate()


def _command(port: int = 0) -> list[str]:
    return [str(Path(sys.executable).with_name("octollm")), "up", "--port", str(port)]


def _environ(home: Path) -> dict[str, str]:
    return {**os.environ, "OCTOLLM_HOME": str(home), "DATABASE_URL": "", "REDIS_URL": ""}


def _ready(running: subprocess.Popen[str]) -> str:
    """Read the line on its standard output; return the URL in it."""
    assert running.stdout is not None
    line = running.stdout.readline().rstrip("\n")
    found = READY.match(line)
    assert found, f"{line!r} is not the line that says ready"
    return found[1]


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes whose environment, command line or directory names `home`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        try:
            traces = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            traces += bytes((entry / "cwd").readlink())
        except OSError:
            continue
        if pid != os.getpid() and os.fsencode(home) in traces:
            found.append(f"{pid} {child_process.command_of(pid)}")
    return found


def _workers_of(arm: str, home: Path) -> list[int]:
    """Return the ids of the worker processes that the stack of `home` runs for an arm."""
    name = f"HONCHO_PROCESS_NAME={arm}.1".encode()
    ids = [int(line.partition(" ")[0]) for line in _processes_of(home) if "-m workers" in line]
    return [pid for pid in ids if name in _environ_of(pid)]


def _environ_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _workers_ready(url: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{url}/ready") as answer:
        return dict(json.load(answer)["checks"]["workers"])
