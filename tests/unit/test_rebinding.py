"""A plan is bound to other values only where it is clear what stands for what."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planner.rebinding import rebind


def step(**members: Any) -> dict[str, Any]:
    """Return a step's record."""
    record = {"id": "find", "arm": "retriever", "action": "search", "description": "", "inputs": {}}
    return {**record, "depends_on": [], "acceptance_criteria": [], "timeout_seconds": None, **members}


def test_values_are_replaced_wherever_they_stand() -> None:
    made = step(
        description="Find CVE-2024-1 on port 8080",
        inputs={"query": "CVE-2024-1", "limit": 8080, "of": [{"port": "8080"}]},
        acceptance_criteria=[
            {"text": "port 8080 is named", "check": {"pointer": "/limit", "equals": 8080.0}}
        ],
    )

    bound = rebind([made], ["CVE-2024-1", "8080"], ["CVE-2025-77", "9090"])

    assert bound == [
        step(
            description="Find CVE-2025-77 on port 9090",
            inputs={"query": "CVE-2025-77", "limit": 9090, "of": [{"port": "9090"}]},
            acceptance_criteria=[
                {"text": "port 9090 is named", "check": {"pointer": "/limit", "equals": 9090}}
            ],
        )
    ]


def test_values_change_places_without_being_mixed_up() -> None:
    made = step(inputs={"query": "from alpha.txt to beta.txt"})

    [bound] = rebind([made], ["alpha.txt", "beta.txt"], ["beta.txt", "alpha.txt"]) or []

    assert bound["inputs"] == {"query": "from beta.txt to alpha.txt"}


def test_a_fraction_is_a_fraction() -> None:
    assert rebind([step(inputs={"limit": 12})], ["12"], ["2.5"]) == [step(inputs={"limit": 2.5})]


@pytest.mark.parametrize(
    ("members", "old", "new"),
    [
        ({"inputs": {"query": "x"}}, "8080", "9090"),
        ({"inputs": {"query": "18080 and 8080"}}, "8080", "9090"),
        ({"inputs": {"query": "8080.5 and 8080"}}, "8080", "9090"),
        ({"inputs": {"query": "tests/src/app.py src/app.py"}}, "src/app.py", "src/b.py"),
        ({"inputs": {"query": "cve-2024-1 is CVE-2024-1"}}, "CVE-2024-1", "CVE-2024-2"),
        ({"inputs": {"limit": 3}, "acceptance_criteria": [{"check": {"at_most": 3}}]}, "3", "4"),
        ({"inputs": {"query": "8080", "8080": "x"}}, "8080", "9090"),
        ({"inputs": {"limit": 8080}}, "8080", "10.0.0.1"),
        ({"inputs": {"query": "8080", "of": {"$from": "a", "pointer": "/8080"}}}, "8080", "9090"),
        (
            {"inputs": {"query": "a.b"}, "acceptance_criteria": [{"check": {"matches": "a.b"}}]},
            "a.b",
            "c.d",
        ),
        ({"inputs": {"query": "60"}, "timeout_seconds": 60.0}, "60", "70"),
        ({"inputs": {"query": " "}}, " ", "x"),
        ({"inputs": {"query": "foo bar"}}, "foo bar", ""),
    ],
    ids=[
        "not there",
        "in a longer number",
        "in a fraction",
        "in a longer path",
        "written otherwise too",
        "one character, twice",
        "a member's name",
        "a number that becomes none",
        "in a pointer",
        "in a pattern",
        "as a time limit",
        "blank",
        "becomes blank",
    ],
)
def test_what_is_not_clear_is_left_alone(members: dict[str, Any], old: str, new: str) -> None:
    assert rebind([step(**members)], [old], [new]) is None


def test_a_value_inside_another_is_not_clear() -> None:
    made = step(inputs={"query": "report report.txt"})

    assert rebind([made], ["report", "report.txt"], ["a", "b.txt"]) is None


def test_a_steps_own_names_are_nobodys_values() -> None:
    made = step(
        id="build-7", depends_on=["build-7"], inputs={"of": {"$from": "build-7", "pointer": ""}, "n": 7}
    )

    [bound] = rebind([made], ["7"], ["9"]) or []

    assert (bound["id"], bound["depends_on"], bound["inputs"]["n"]) == ("build-7", ["build-7"], 9)
    assert bound["inputs"]["of"]["$from"] == "build-7"


def test_true_is_not_one() -> None:
    made = step(optional=True, inputs={"deep": True, "limit": 1})

    assert rebind([made], ["1"], ["5"]) == [step(optional=True, inputs={"deep": True, "limit": 5})]


WORDS = st.text("abcdefghij", min_size=4, max_size=8)


@given(old=st.lists(WORDS, min_size=1, max_size=3, unique=True), data=st.data())
def test_binding_there_and_back_gives_the_plan_again(old: list[str], data: st.DataObject) -> None:
    new = data.draw(st.lists(WORDS, min_size=len(old), max_size=len(old), unique=True))
    made = step(description=" - ".join(old), inputs={"query": old[0], "values": old})

    bound = rebind([made], old, new)

    if bound is not None:
        assert bound[0]["inputs"] == {"query": new[0], "values": new}
        assert rebind(bound, new, old) in ([made], None)
