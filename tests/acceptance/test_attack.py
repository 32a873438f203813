"""Every attack on a running stack holds, and another tenant's small task is in time beside each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_every_attack_holds_while_another_tenant_works() -> None:
    finished = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "attack.py"), "--seconds", "700"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=850,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "BROKE" not in finished.stdout
