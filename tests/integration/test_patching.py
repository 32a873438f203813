"""A patch, given or a model's, is accepted only when it applies and the tests pass in the sandbox."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.archive import pack
from orchestrator.devstack.fake_llm import FakeLLM
from orchestrator.errors import SandboxUnavailable
from tests.unit.arm_kit import assignment, run
from tests.unit.model_kit import scripted
from workers.sandbox.backend import Isolation
from workers.sandbox.choice import Standing, strongest

MODULE = "def double(x):\n    return 3 * x\n"
TEST = "from m import double\n\n\ndef test_double():\n    assert double(2) == 4\n"
GOOD = "--- a/m.py\n+++ b/m.py\n@@ -1,2 +1,2 @@\n def double(x):\n-    return 3 * x\n+    return 2 * x\n"
WORSE = GOOD.replace("+    return 2 * x", "+    return 4 * x")
MISFIT = GOOD.replace("return 3", "return 5")
NEW = (
    "--- /dev/null\n+++ b/n.py\n@@ -0,0 +1,2 @@\n+def one():\n+    return 1\n"
    "--- /dev/null\n+++ b/test_n.py\n@@ -0,0 +1,5 @@\n"
    "+from n import one\n+\n+\n+def test_one():\n+    assert one() == 1\n"
)


@pytest.fixture(scope="module")
def standing() -> Standing:
    """The strongest sandbox of this machine."""
    return strongest(Isolation.BASIC)


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    """A server that answers what it is told to."""
    with FakeLLM() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """A package with a defect that its test shows."""
    (tmp_path / "m.py").write_text(MODULE)
    (tmp_path / "test_m.py").write_text(TEST)
    return {"code.tar.gz": pack(tmp_path)}


def said(patch: str) -> dict[str, Any]:
    return {"patch": patch, "explanation": "as asked"}


@pytest.mark.parametrize(
    ("patch", "accepted", "reason"),
    [
        (GOOD, True, ""),
        (WORSE, False, "1 of 1 test fail: test_m.py::test_double"),
        (MISFIT, False, "hunk 1 of m.py does not fit"),
    ],
)
def test_a_patch_is_accepted_when_it_applies_and_the_tests_pass(
    patch: str, accepted: bool, reason: str, files: dict[str, bytes], standing: Standing
) -> None:
    output = run(assignment("coder", "apply", {"patch": patch}, files=files), standing=standing).output

    assert output["accepted"] is accepted
    assert output["reason"].startswith(reason)
    assert output["tests_passed"] == int(accepted)


def test_a_model_is_told_exactly_what_is_wrong_until_the_tests_pass(
    files: dict[str, bytes], standing: Standing, fake: FakeLLM
) -> None:
    fake.answer(said(MISFIT), said(WORSE), said(GOOD))
    given = assignment("coder", "fix", {"instruction": "double(2) is 6"}, files=files)

    result = run(replace(given, model=scripted(fake)), standing=standing)

    assert (result.output["accepted"], result.output["fix_rounds"]) == (True, 2)
    assert result.output["patch"] == GOOD
    assert "hunk 1 of m.py does not fit: line 2 is" in fake.received[1].text
    assert "test_m.py::test_double" in fake.received[2].text
    assert [model["prompt"] for model in result.provenance["models"]] == ["coder.patch@1.0.0"] * 3


def test_after_two_fix_rounds_a_patch_that_fails_is_told_as_not_accepted(
    files: dict[str, bytes], standing: Standing, fake: FakeLLM
) -> None:
    fake.answer(*[said(WORSE)] * 3)
    given = assignment("coder", "fix", {"instruction": "double(2) is 6"}, files=files)

    output = run(replace(given, model=scripted(fake)), standing=standing).output

    assert (output["accepted"], output["fix_rounds"], output["tests_failed"]) == (False, 2, 1)
    assert len(fake.received) == 3


def test_new_code_comes_with_tests_or_is_not_accepted(standing: Standing, fake: FakeLLM) -> None:
    without = NEW.partition("--- /dev/null\n+++ b/test_n.py")[0]
    fake.answer(said(without), said(NEW))
    given = assignment("coder", "generate", {"instruction": "a function that returns 1"})

    output = run(replace(given, model=scripted(fake)), standing=standing).output

    assert (output["accepted"], output["fix_rounds"]) == (True, 1)
    assert "no tests" in fake.received[1].text


def test_without_a_sandbox_no_model_is_paid_for(files: dict[str, bytes], fake: FakeLLM) -> None:
    given = assignment("coder", "fix", {"instruction": "mend it"}, files=files)

    with pytest.raises(SandboxUnavailable):
        run(replace(given, model=scripted(fake)))

    assert fake.received == []
