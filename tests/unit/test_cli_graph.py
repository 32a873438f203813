"""The picture of a plan or a task in Mermaid and DOT."""

from typing import Any

import click
import pytest

from orchestrator.cli.graph import dot, mermaid, steps_of_plan

_PLAN: dict[str, Any] = {
    "steps": [
        {"id": "end", "arm": "retriever", "action": "inventory"},
        {
            "id": "b",
            "arm": "coder",
            "inputs": {"x": [{"deep": {"$from": "end"}}]},
            "depends_on": ["end", "gone"],
        },
    ]
}


def test_a_plan_has_its_dependencies_and_its_references_as_edges_once() -> None:
    assert list(mermaid(steps_of_plan(_PLAN))) == [
        "flowchart TD",
        '    s1["end<br/>retriever.inventory"]',
        '    s2["b<br/>coder"]',
        "    s1 --> s2",
    ]


def test_a_tasks_steps_are_coloured_by_their_state() -> None:
    steps = [
        {"step_id": "a", "arm_id": "coder", "action": "syntax", "depends_on": [], "status": "done"},
        {"step_id": "b", "arm_id": "coder", "action": "syntax", "depends_on": ["a"], "status": "blocked"},
    ]

    assert list(dot(steps)) == [
        "digraph plan {",
        "    node [shape=box, style=rounded];",
        '    s1 [label="a\\ncoder.syntax", style="rounded,filled", fillcolor="#2e7d32", fontcolor=white];',
        '    s2 [label="b\\ncoder.syntax", style="rounded,filled", fillcolor="#546e7a", fontcolor=white];',
        "    s1 -> s2;",
        "}",
    ]


def test_a_name_can_not_end_its_label() -> None:
    steps = steps_of_plan({"steps": [{"id": 'a"]; x --> y', "arm": "c\n`|", "action": "<b>"}]})

    assert list(mermaid(steps))[1] == '    s1["a___ x --_ y<br/>c___._b_"]'


@pytest.mark.parametrize(
    "plan", [None, [], {}, {"steps": 3}, {"steps": ["a"]}, {"steps": [{"arm": "coder"}]}]
)
def test_what_is_no_plan_is_wrong_usage(plan: Any) -> None:
    with pytest.raises(click.BadParameter, match="is not a plan"):
        steps_of_plan(plan)


def test_a_plans_edges_come_from_its_loops_and_conditions_too() -> None:
    plan = {
        "steps": [
            {"id": "find"},
            {"id": "fix", "for_each": {"$from": "find", "pointer": "/matches"}},
            {"id": "end", "when": {"step": "fix", "pointer": "/failed", "equals": 0}},
        ]
    }

    assert [step["depends_on"] for step in steps_of_plan(plan)] == [[], ["find"], ["fix"]]
