"""`make test` is deterministic: its random tests draw the same examples in every process."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_DRAWN_IN = """
from tests import conftest
from hypothesis import settings
settings.load_profile("gate")
from tests.unit.test_gate import drawn
import sys
print(drawn())
"""


def drawn() -> list[tuple[int, str]]:
    """Return the examples that hypothesis draws."""
    tried: list[tuple[int, str]] = []

    @given(st.integers(), st.text())
    @settings(max_examples=200)
    def draw(number: int, text: str) -> None:
        tried.append((number, text))

    draw()
    return tried


@pytest.mark.slow
def test_random_tests_draw_the_same_examples_in_every_process() -> None:
    few = subprocess.check_output([sys.executable, "-c", _DRAWN_IN], text=True, cwd=_ROOT)
    many = subprocess.check_output(
        [sys.executable, "-c", "import api.app, orchestrator.settings" + _DRAWN_IN], text=True, cwd=_ROOT
    )

    assert few == many
    assert few.count("(") > 100


def test_the_gate_profile_is_active() -> None:
    assert settings.default is not None
    assert settings.default.derandomize
    assert settings.default.database is None


_ROOT = Path(__file__).parents[2]
