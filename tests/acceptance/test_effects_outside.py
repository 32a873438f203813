"""A few rounds of bench/effects.py: whatever is killed around a write, its effect outside happens once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_no_effect_happens_twice_or_is_lost_and_each_unknown_one_is_asked() -> None:
    finished = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "effects.py"), "--rounds", "6"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "twice 0  missing 0" in finished.stdout
