"""Lines are found with their true numbers, by RE2, and quoted verbatim."""

from pathlib import Path

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.safety.archive import pack
from tests.unit.arm_kit import assignment, run


def test_lines_are_found_in_all_files_with_the_numbers_that_editors_show(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n\r\n    # TODO one\r\n")
    (tmp_path / "b.txt").write_text("\ufefffirst\nTODO two")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\0")

    result = run(
        assignment("retriever", "find_lines", {"pattern": r"\bTODO\b"}, files={"c.tar.gz": pack(tmp_path)})
    )

    assert result.output["matches"] == [
        {"file": "a.py", "line": 3, "quote": "# TODO one"},
        {"file": "b.txt", "line": 2, "quote": "TODO two"},
    ]
    assert result.output["files"] == [{"file": "a.py", "lines": 1}, {"file": "b.txt", "lines": 1}]
    assert (result.output["found"], result.output["files_searched"]) == (2, 2)
    assert result.output["summary"] == "2 lines in 2 files of 2 match '\\\\bTODO\\\\b'"
    assert result.warnings == ["1 file not read: logo.png is binary"]


def test_a_plain_text_is_found_as_it_is_and_capital_letters_may_count_as_small_ones() -> None:
    inputs = {"pattern": "a.b(", "literal": True, "ignore_case": True}

    output = run(assignment("retriever", "find_lines", inputs, context="axb(\nA.B(c)\na.b(")).output

    assert [match["line"] for match in output["matches"]] == [2, 3]
    assert output["matches"][0]["file"] == "(context)"


def test_more_lines_than_the_limit_are_counted_and_told() -> None:
    given = assignment("retriever", "find_lines", {"pattern": "x", "limit": 2}, context="x\n" * 5)

    result = run(given)

    assert (len(result.output["matches"]), result.output["found"]) == (2, 5)
    assert result.warnings == ["3 more lines are not listed"]


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=x)", "x" * 500 + "{"])
def test_a_pattern_that_re2_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidStepInput, match="pattern"):
        run(assignment("retriever", "find_lines", {"pattern": pattern}, context="a"))


def test_a_pattern_that_would_take_exponential_time_elsewhere_takes_linear_time() -> None:
    given = assignment("retriever", "find_lines", {"pattern": "(a|aa)+$"}, context="a" * 40_000 + "b")

    assert run(given).output["found"] == 0
