"""The picture of a plan, a recipe or a task in Mermaid, DOT and SVG."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest

from orchestrator.cli.graph import graph, picture_of_plan, picture_of_task
from orchestrator.cli.plan_picture import MAX_STEPS_DRAWN, Picture, dot, mermaid
from orchestrator.cli.plan_svg import svg

ROOT = Path(__file__).parents[2]
HOSTILE = 'a"]; x --> y\n```<script>\u202e&\\'
_PLAN: dict[str, Any] = {
    "steps": [
        {"id": "end", "arm": "retriever", "action": "inventory"},
        {"id": "b", "arm": "coder", "inputs": {"x": [{"$from": "end", "pointer": "/rows"}]}},
        {"id": "c", "arm": "coder", "action": "lint", "depends_on": ["end", "gone"]},
    ]
}


def _told(subject: str, form: str, *, tmp_path: Path) -> str:
    path = tmp_path / "out"
    with path.open("w") as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        graph.main([subject, "--format", form], standalone_mode=False)
    return path.read_text()


def test_a_plans_edges_are_solid_where_a_value_flows_and_dotted_where_only_the_order_counts() -> None:
    assert list(mermaid(picture_of_plan(_PLAN))) == [
        "flowchart LR",
        '    s1["end<br/>retriever.inventory"]',
        '    s2["b<br/>coder"]',
        '    s3["c<br/>coder.lint"]',
        '    s1 -->|"/rows"| s2',
        "    s1 -.-> s3",
    ]


def test_a_value_that_flows_twice_is_one_edge_that_names_both() -> None:
    plan = {
        "steps": [
            {"id": "a"},
            {
                "id": "b",
                "depends_on": ["a"],
                "inputs": {
                    "x": {"$from": "a", "pointer": "/n"},
                    "y": {"$file": {"from": "a", "name": "t.csv"}},
                },
            },
        ]
    }

    assert [edge.carries for edge in picture_of_plan(plan).edges] == [("/n", "t.csv")]


def test_a_plans_edges_come_from_its_loops_and_conditions_too() -> None:
    plan = {
        "steps": [
            {"id": "find"},
            {"id": "fix", "for_each": {"$from": "find", "pointer": "/matches"}},
            {"id": "end", "when": {"step": "fix", "pointer": "/failed", "equals": 0}},
        ]
    }

    drawn = picture_of_plan(plan)

    assert [(edge.source, edge.target) for edge in drawn.edges] == [("find", "fix"), ("fix", "end")]
    assert [node.notes for node in drawn.nodes] == [(), ("for each item",), ("if its condition is met",)]


def test_a_tasks_steps_have_a_colour_and_a_sign_and_a_word_for_their_state() -> None:
    steps = [
        _step("a", "done"),
        _step("b", "running", depends_on=["a"], attempt=2, items={"done": 3, "queued": 2}),
    ]

    assert list(dot(picture_of_task(steps))) == [
        "digraph plan {",
        "    rankdir=LR;",
        "    node [shape=box, style=rounded];",
        '    s1 [label="✓ a\\ncoder.syntax\\ndone", style="rounded,filled", fillcolor="#2e7d32", fontcolor=white];',
        '    s2 [label="▶ b\\ncoder.syntax\\nrunning, 3/5 items, attempt 2", style="rounded,filled", '
        'fillcolor="#1565c0", fontcolor=white];',
        "    s1 -> s2;",
        "}",
    ]


def test_a_tasks_edges_say_what_flows_when_its_plan_is_known() -> None:
    steps = [
        _step("end", "done"),
        _step("b", "blocked", depends_on=["end"]),
        _step("c", "blocked", depends_on=["end"]),
    ]

    assert [edge.carries for edge in picture_of_task(steps).edges] == [None, None]
    assert [edge.carries for edge in picture_of_task(steps, plan=_PLAN).edges] == [("/rows",), ()]


def test_a_name_can_not_end_its_label() -> None:
    drawn = picture_of_plan({"steps": [{"id": HOSTILE, "arm": HOSTILE, "action": "<b>"}]})

    (node,) = [line for line in mermaid(drawn) if "s1[" in line]
    label = node.removeprefix('    s1["').removesuffix('"]').replace("<br/>", "")
    assert not set('"<>`[]\n\u202e') & set(label)
    (node,) = [line for line in dot(drawn) if "s1 [" in line]
    assert node.startswith('    s1 [label="a\\"]; x --> y\\\\n```<script>\\\\u202e&amp;\\\\\\n')
    root = ElementTree.fromstring("\n".join(svg(drawn)))
    assert not root.findall(".//{*}script")
    assert "<script>" in "".join(root.itertext())


@pytest.mark.parametrize(
    "plan",
    [
        None,
        [],
        {},
        {"steps": 3},
        {"steps": ["a"]},
        {"steps": [{"arm": "coder"}]},
        {"steps": [{"id": "a", "depends_on": 3}]},
    ],
)
def test_what_is_no_plan_is_wrong_usage(plan: Any) -> None:
    with pytest.raises(click.BadParameter, match="is not a plan"):
        picture_of_plan(plan)


def test_a_plan_with_more_steps_than_can_be_drawn_is_refused() -> None:
    with pytest.raises(click.ClickException, match=r"1001 steps.*at most 1,000"):
        picture_of_plan({"steps": [{"id": f"s{number}"} for number in range(MAX_STEPS_DRAWN + 1)]})


def test_a_picture_in_svg_has_a_text_alternative_and_both_themes() -> None:
    drawn = picture_of_task([_step("a", "failed"), _step("b", "skipped", depends_on=["a"])])

    text = "\n".join(svg(drawn))
    root = ElementTree.fromstring(text)

    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title desc")
    assert root.findtext("{*}title") == "2 steps: 1 failed, 1 skipped"
    assert root.findtext("{*}desc") == "a (coder.syntax, failed). b (coder.syntax, skipped) after a."
    assert "prefers-color-scheme: dark" in text
    assert "href" not in text
    assert text.isascii()


def test_each_step_of_an_svg_stands_right_of_those_it_follows_and_on_no_other() -> None:
    plan = {
        "steps": [
            {"id": f"s{number}", "depends_on": [f"s{number // 2}"] if number else []} for number in range(40)
        ]
    }

    boxes = _boxes(picture_of_plan(plan))

    for number in range(1, 40):
        assert boxes[f"s{number}"][0] > boxes[f"s{number // 2}"][0]
    places = sorted(boxes.values())
    assert all(left[0] != right[0] or right[1] - left[1] >= left[3] for left, right in pairwise(places))


@pytest.mark.parametrize("size", [2, 200])
def test_a_plan_with_a_circle_is_still_drawn(size: int) -> None:
    steps = [{"id": f"s{number}", "depends_on": [f"s{(number + 1) % size}"]} for number in range(size)]

    assert len(_boxes(picture_of_plan({"steps": steps}))) == size


def test_every_step_after_every_other_one_is_drawn() -> None:
    steps = [
        {"id": f"s{number}", "depends_on": [f"s{other}" for other in range(number)]} for number in range(200)
    ]

    assert len(_boxes(picture_of_plan({"steps": steps}))) == 200


def test_a_plan_in_a_file_and_a_recipe_are_drawn_without_a_server(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(_PLAN))

    assert _told(str(plan), "mermaid", tmp_path=tmp_path).splitlines()[0] == "flowchart LR"
    assert '["run_code' not in _told("run-script", "mermaid", tmp_path=tmp_path)
    assert "digraph plan" in _told("audit-python-package", "dot", tmp_path=tmp_path)


def test_what_is_neither_a_task_nor_a_file_nor_a_recipe_is_told_with_the_recipes(tmp_path: Path) -> None:
    with pytest.raises(
        click.UsageError, match=r"no id of a task, no file and no recipe.*audit-python-package"
    ):
        _told("adit-python-package", "mermaid", tmp_path=tmp_path)


def test_the_picture_in_the_documentation_is_the_one_that_the_command_makes(tmp_path: Path) -> None:
    shown = (ROOT / "docs" / "img" / "audit-python-package.svg").read_text()

    assert shown == _told("audit-python-package", "svg", tmp_path=tmp_path)


def _step(name: str, status: str, **members: Any) -> dict[str, Any]:
    plain = {
        "arm_id": "coder",
        "action": "syntax",
        "depends_on": [],
        "attempt": 1,
        "items": None,
        "reused_from": None,
    }
    return {"step_id": name, "status": status, **plain, **members}


def _boxes(drawn: Picture) -> dict[str, tuple[float, float, float, float]]:
    """Return (x, y, width, height) of each step's box in the SVG, by the step's name."""
    root = ElementTree.fromstring("\n".join(svg(drawn)))
    found = {}
    for group in root.findall("{*}g[@class]"):
        box = group.find("{*}rect")
        name = str(group.findtext("{*}title")).split(" ")[0]
        found[name] = tuple(float(box.get(key)) for key in ("x", "y", "width", "height"))
    return found  # type: ignore[return-value]  # four floats
