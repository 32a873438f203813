"""A dotted path is found in a document, or the deepest part of it that exists."""

from typing import Any

import pytest

from orchestrator.rules.json_pointer import follow, locate

DOCUMENT: dict[str, Any] = {"a": [{"b.c": {"d/e~f": 1}, "b": 2}], "": 3, "q.0": {"x": 4}, "n": None}


@pytest.mark.parametrize(
    ("dotted", "pointer", "missing"),
    [
        ("", "", ""),
        ("n", "/n", ""),
        ("a.0.b", "/a/0/b", ""),
        ("a.0.b.c.d/e~f", "/a/0/b.c/d~1e~0f", ""),
        ("q.0.x", "/q.0/x", ""),
        ("a.1.b", "/a", "1.b"),
        ("a.01", "/a", "01"),
        ("z.y", "", "z.y"),
        ("n.x", "/n", "x"),
    ],
)
def test_a_dotted_path_leads_to_the_deepest_place_that_exists(
    dotted: str, pointer: str, missing: str
) -> None:
    assert locate(DOCUMENT, dotted) == (pointer, missing)
    assert follow(DOCUMENT, pointer) is not None or pointer == "/n"


def test_a_path_of_dots_leads_nowhere() -> None:
    assert locate({}, "." * 300)[0] == ""
