"""A minute of chaos: the auditor finds no violation in the product, and some in a broken copy of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run bench/chaos.py to its end; its output has the seed and the violations."""
    return subprocess.run(
        [sys.executable, str(ROOT / "bench" / "chaos.py"), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
    )


def test_under_all_faults_nothing_is_lost_or_counted_twice() -> None:
    finished = chaos("--seconds", "60")

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "lost 0  doubled 0  violations 0" in finished.stdout


def test_without_the_claims_fence_the_auditor_reports_violations() -> None:
    finished = chaos("--seconds", "15", "--mutations", "fence")

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "lease_taken" in finished.stdout
