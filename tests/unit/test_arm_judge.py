"""As a step of a plan, the judge checks values by rules and quotes against their sources."""

from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput, VerificationFailed
from tests.unit.arm_kit import assignment, run

SOURCE = b"one\ntwo and a half\nthree\n"
GOOD = {"text": "small", "check": {"pointer": "/n", "at_most": 3}}
BAD = {"text": "large", "check": {"pointer": "/n", "at_least": 30}}


def verify(inputs: dict[str, Any], **files: bytes) -> dict[str, Any]:
    output: dict[str, Any] = run(assignment("judge", "verify", inputs, files=files)).output
    return output


def test_each_check_has_a_finding_with_its_reason() -> None:
    output = verify({"values": {"n": 3}, "checks": [GOOD, BAD]})

    assert (output["passed"], output["checked"], output["failed"]) == (False, 2, 1)
    assert [finding["met"] for finding in output["findings"]] == [True, False]
    assert "is not at least 30" in output["findings"][1]["explanation"]


def test_one_value_and_one_check_are_enough() -> None:
    assert verify({"value": [1, 2], "check": {"contains": 2}})["passed"]


def test_a_required_check_that_fails_fails_the_step_with_its_findings() -> None:
    with pytest.raises(VerificationFailed) as failed:
        verify({"values": {"n": 3}, "checks": [GOOD, BAD], "required": True})

    assert failed.value.code == "verification_failed"
    assert [finding["met"] for finding in failed.value.details["findings"]] == [True, False]
    assert verify({"values": {"n": 3}, "checks": [GOOD], "required": True})["passed"]


@pytest.mark.parametrize(
    ("citation", "met"),
    [
        ({"file": "a.txt", "line": 2, "quote": "two and a half"}, True),
        ({"file": "a.txt", "line": 2, "quote": "and a half\nthree"}, True),
        ({"file": "a.txt", "line": 2, "quote": "and a"}, True),
        ({"file": "a.txt", "line": 1, "quote": "two and a half"}, False),
        ({"file": "a.txt", "line": 2, "quote": "Two and a half"}, False),
        ({"file": "a.txt", "line": 3, "quote": "three\nfour"}, False),
        ({"file": "a.txt", "line": 300, "quote": "three"}, False),
        ({"file": "b.txt", "line": 1, "quote": "one"}, False),
        ({"file": "a.txt", "line": 3}, True),
        ({"file": "a.txt", "line": 5}, False),
        ({"file": "b.txt", "line": 1}, False),
    ],
)
def test_a_cited_place_must_exist_and_contain_its_quote_verbatim(citation: dict[str, Any], met: bool) -> None:
    output = run(assignment("judge", "verify", {"citations": [citation]}, files={"a.txt": SOURCE})).output

    assert output["passed"] is met


def test_a_citation_of_a_text_that_a_writer_was_given_is_looked_up_in_the_value() -> None:
    citation = {"file": "(text)", "line": 2, "quote": "b c"}

    assert verify({"value": "a\nb c", "citations": [citation]})["passed"] is True
    assert verify({"value": "a\nb d", "citations": [citation]})["passed"] is False


@pytest.mark.parametrize("inputs", [{}, {"value": 1}, {"value": 1, "check": {"at_least": "x"}}])
def test_nothing_to_check_is_not_a_pass(inputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidStepInput):
        verify(inputs)
