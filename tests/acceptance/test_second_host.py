"""A drill: workers on a second host, whose clock is an hour behind, lose the link to the first one and get it back.

The figures are in docs/operations.md: `pytest -s -m slow tests/acceptance/test_second_host.py` prints them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_second_host_that_is_cut_off_loses_and_doubles_nothing() -> None:
    """Its leases move to the first host, its late outcomes are refused, and it works again when the link is back."""
    into = _new_namespace()
    with tempfile.TemporaryDirectory(prefix="octollm-hosts-") as folder:
        ran = subprocess.run(
            [*into, sys.executable, "-m", "tests.acceptance.second_host", folder],
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
            cwd=Path(__file__).parents[2],
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    sys.stdout.write(f"\nsecond host: {told}\n")

    assert told["on the second host"] > 0
    assert set(told["ends"]) == {"completed"}
    assert told["attempts"] == [1] * (6 - told["on the second host"]) + [2] * told["on the second host"]
    assert told["late outcomes refused"] + told["attempts stopped"] > 0
    assert told["lines"] == 1, "the write was not to run twice"
    assert told["violations"] == []


def _new_namespace() -> Sequence[str]:
    """Return the command that runs another one in a network namespace of its own: as root, or as a user's own root."""
    if shutil.which("ip") is None:
        machine.lacks("ip", package="iproute2")
    ways = (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"])
    usable = [
        way
        for way in (ways if os.geteuid() == 0 else ways[1:])
        if subprocess.run([*way, "true"], check=False, capture_output=True).returncode == 0
    ]
    return usable[0] if usable else machine.lacks("network namespaces", package="util-linux iproute2")
