"""A killed worker leaves no running tool, and the next worker removes what it left."""

import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.integration.sandbox_kit import SMALL, guarded, kinds_here
from tests.waiting import wait_until
from workers.sandbox import cleanup, tool_users

ROOT = Path(__file__).parents[2]
KILLS = 10


@pytest.mark.slow
def test_no_tool_outlives_a_worker_killed_at_any_moment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.worker_killer", str(tmp_path), "none=4"]
    killer = subprocess.run(
        [*command, *(f"{level}={KILLS}" for level in kinds_here())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    left: dict[str, list[int]] = {}
    for level, _, count in map(str.split, killer.stdout.splitlines()):
        left.setdefault(level, []).append(int(count))

    assert killer.returncode == 0, killer.stderr
    assert sum(left.pop("none")) > 0
    assert left == {level: [0] * KILLS for level in kinds_here()}, killer.stdout


def test_orphans_are_killed_and_sandboxes_of_living_workers_are_not() -> None:
    dead = subprocess.Popen(["sleep", "60"], env={cleanup.VARIABLE: "octollm-sandbox:1:1"})
    ours = subprocess.Popen(["sleep", "60"], env={cleanup.VARIABLE: cleanup.tag()})
    other = subprocess.Popen(["sleep", "60"], env={"NOTE": "octollm-sandbox:1:1"})
    try:
        assert cleanup.reap() >= 1

        assert dead.wait(5) == -9
        assert ours.poll() is other.poll() is None
    finally:
        for process in (dead, ours, other):
            process.kill()
            process.wait()


def test_directories_of_dead_workers_are_removed_and_others_are_kept() -> None:
    left = Path(tempfile.mkdtemp(prefix="octollm-1-1-"))
    ours = Path(tempfile.mkdtemp(prefix=cleanup.directory_prefix()))

    cleanup.reap()
    found = (left.exists(), ours.exists())
    ours.rmdir()

    assert found == (False, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives tools a user of their own")
def test_a_process_of_a_free_tool_user_is_killed() -> None:
    with tool_users.exclusive_user() as user:
        assert user is not None
        stray = subprocess.Popen(["/bin/sleep", "60"], user=user.uid, group=user.uid, extra_groups=[], env={})
        cleanup.reap()
        held = stray.poll()
    cleanup.reap()

    assert held is None
    assert stray.wait(5) == -9


@pytest.mark.parametrize("level", kinds_here())
def test_no_zombie_and_no_descriptor_is_left_behind(level: str, tmp_path: Path) -> None:
    inputs = tmp_path / uuid.uuid4().hex
    inputs.mkdir()
    guarded(kinds_here()[level], "pass", inputs=inputs, limits=SMALL)
    before = open_descriptors()

    guarded(kinds_here()[level], "pass", inputs=inputs, limits=SMALL)

    assert open_descriptors() == before
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    wait_until(lambda: not any(map(is_zombie, children.read_text().split())), timeout=2, what="no zombie")


def open_descriptors() -> int:
    """Return how many files, pipes and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def is_zombie(pid: str) -> bool:
    """Return whether a process is a zombie."""
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
