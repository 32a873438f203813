"""Goals that differ only in numbers, quotes, code and identifiers have one template; all others have their own."""

import pytest

from orchestrator.similarity import template_of
from orchestrator.similarity.template import Template


def template(goal: str) -> Template:
    """Return the template of a goal that has one."""
    found = template_of(goal)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("List the 3 largest files of build 7", "please list the 12 largest files of build 901!"),
        ("Search the manual for 'late delivery'", "Search the manual for 'refund'"),
        ("Explain src/app.py and CVE-2024-12345", "Explain lib/other.py and CVE-2025-1"),
        ("Run the check `x = 1` again", "Run the check `y = 2` again"),
    ],
)
def test_goals_that_differ_only_in_their_values_have_one_template(one: str, other: str) -> None:
    assert template(one).digest == template(other).digest
    assert template(one).values != template(other).values


@pytest.mark.parametrize(
    "other",
    [
        "List the 3 smallest files of build 7",
        "List the largest files of build 7",
        "List the 7 largest files of build 7",
        "List the 3 largest files of build 'seven'",
        "List the 3% largest files of build 7",
    ],
    ids=["a word", "a value less", "one value twice", "another kind", "a symbol"],
)
def test_other_goals_have_other_templates(other: str) -> None:
    assert template(other).digest != template("List the 3 largest files of build 7").digest


def test_values_are_written_as_in_the_goal_and_named_once() -> None:
    assert template("Compare CVE-2024-1 with 'A b' and then CVE-2024-1 again").values == ("CVE-2024-1", "A b")


@pytest.mark.parametrize(
    "goal", ["List the three largest files", "Add 1,000 to the sum", "'x'", "Explain 'x'"]
)
def test_spoken_numbers_and_bare_values_have_none(goal: str) -> None:
    assert template_of(goal) is None
