"""The Procfile: the one list of processes that honcho and `octollm up` both run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.devserver.service import PROCFILE, read_procfile
from orchestrator.devserver.stack import ONE_OF_EACH
from orchestrator.models.arm_capability import ARMS


def test_honcho_accepts_the_procfile() -> None:
    checked = subprocess.run(
        [Path(sys.executable).with_name("honcho"), "-f", PROCFILE, "check"],
        check=True,
        capture_output=True,
        text=True,
    )

    (listed,) = re.findall(r"detected \((.*)\)", checked.stderr)
    assert listed.split(", ") == list(read_procfile())


@pytest.mark.parametrize("arm_id", sorted(arm.arm_id for arm in ARMS.values() if arm.has_workers))
def test_every_arm_has_a_line_with_its_queue_and_its_pool(arm_id: str) -> None:
    arm = ARMS[arm_id]
    words = shlex.split(read_procfile()[arm.process])
    size = words[words.index("-c") + 1]

    assert (words[words.index("-Q") + 1], words[words.index("-P") + 1]) == (arm.queue, arm.pool)
    assert size == str(arm.max_concurrent_tasks) or re.fullmatch(r"\$\{[A-Z]+_THREADS:-\d\}", size)


def test_every_worker_line_belongs_to_an_arm_or_to_webhooks() -> None:
    workers = {name for name, command in read_procfile().items() if "python -m workers " in command}

    arms = {arm.process for arm in ARMS.values() if arm.has_workers}
    assert workers == arms | {"webhook", "arms", "remote"}


def test_up_runs_every_line_but_flower_the_release_and_plug_ins_that_are_not_there() -> None:
    assert set(ONE_OF_EACH) == set(read_procfile()) - {"arms", "flower", "release"}


def test_every_line_execs_its_program_so_that_signals_reach_it() -> None:
    for name, command in read_procfile().items():
        last = re.split(r";|&&", command)[-1].strip()

        assert last.startswith("exec ") or name == "release", command


def test_two_workers_of_a_kind_have_two_names() -> None:
    for name in ("coder", "judge"):
        (node,) = re.findall(r"-n (\S+)", read_procfile()[name])
        shown = [
            subprocess.run(
                ["/bin/sh", "-c", f"echo {node}"], check=True, capture_output=True, text=True, env=environ
            ).stdout.strip()
            for environ in (
                {"HONCHO_PROCESS_NAME": f"{name}.1"},
                {"HONCHO_PROCESS_NAME": f"{name}.2"},
                {},
                {},
            )
        ]

        assert shown[:2] == [f"{name}.1@%h", f"{name}.2@%h"]
        assert len(set(shown)) == 4


def test_worker_lines_differ_only_in_arm_and_pool() -> None:
    shapes = {
        re.sub(
            r"^\[.*/dev/null; |(?:-Q \S+ -P \w+ -c (?:\d+|\$\{\w+:-\d+\})|--arms \S+)"
            r" -n \$\{HONCHO_PROCESS_NAME:-\w+\.",
            "",
            command,
        )
        for name, command in read_procfile().items()
        if "python -m workers " in command
    }

    assert len(shapes) == 1
