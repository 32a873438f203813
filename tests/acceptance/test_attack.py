"""No attack on a running stack succeeds, and another tenant's small task ends in time during each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_no_attack_succeeds_while_another_tenant_works() -> None:
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
