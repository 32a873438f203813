"""A task contract is built from what stands on the command line."""

from pathlib import Path

import click
import pytest

from orchestrator.cli.contract import read_context, read_criterion, read_plan


def test_criteria_are_words_or_an_object_with_a_check() -> None:
    assert read_criterion("No test fails") == "No test fails"
    assert read_criterion('{"text": "t", "check": {"all_steps_done": true}}') == {
        "text": "t",
        "check": {"all_steps_done": True},
    }


def test_a_bare_list_of_steps_is_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('[{"id": "a", "arm": "retriever"}]')

    assert read_plan(path) == {"steps": [{"id": "a", "arm": "retriever"}]}


def test_a_plan_that_is_not_json_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("steps:")

    with pytest.raises(click.BadParameter, match="is not JSON"):
        read_plan(path)


@pytest.mark.parametrize(
    ("content", "context"), [('{"a": 1}', {"a": 1}), ("[1]", "[1]"), ("plain words", "plain words")]
)
def test_a_context_is_an_object_or_text(tmp_path: Path, content: str, context: object) -> None:
    path = tmp_path / "context"
    path.write_text(content)

    assert read_context(path) == context
