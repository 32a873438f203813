"""A task contract is built from the options of the command line."""

import io
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.client import ApiClient
from orchestrator.cli.tasks import read_context, read_criterion, read_goal, read_plan, upload


def test_a_criterion_is_a_text_or_an_object_with_a_check() -> None:
    assert read_criterion("No test fails") == "No test fails"
    assert read_criterion('{"text": "t", "check": {"all_steps_done": true}}') == {
        "text": "t",
        "check": {"all_steps_done": True},
    }


def test_a_bare_list_of_steps_is_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('[{"id": "a", "arm": "retriever"}]')

    assert read_plan(path) == {"steps": [{"id": "a", "arm": "retriever"}]}


def test_a_plan_may_be_yaml(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("steps:\n  - id: a   # the first\n    inputs: {seconds: 0.5}\n")

    assert read_plan(path) == {"steps": [{"id": "a", "inputs": {"seconds": 0.5}}]}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"steps": ', "is not JSON"),
        ("a: [", "plain YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("!!python/object:os.system {}", "plain YAML"),
        ("at: 2026-11-28", "date is not JSON serializable"),
        ("[" * 2_000, "is not JSON"),
        ("- " * 2_000 + "x", "plain YAML"),
    ],
)
def test_a_plan_that_is_neither_json_nor_plain_yaml_is_wrong_usage(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "plan"
    path.write_text(text)

    with pytest.raises(click.BadParameter, match=why):
        read_plan(path)


@pytest.mark.parametrize(
    ("content", "context"), [('{"a": 1}', {"a": 1}), ("[1]", "[1]"), ("plain words", "plain words")]
)
def test_a_context_is_an_object_or_text(tmp_path: Path, content: str, context: object) -> None:
    path = tmp_path / "context"
    path.write_text(content)

    assert read_context(path) == context


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_removed(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "file"
    path.write_text('{"steps": []}', encoding=encoding)

    assert read_plan(path) == read_context(path) == {"steps": []}


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(content: bytes, encoding: str = "utf-8") -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding=encoding))

    given(b"\xef\xbb\xbf[]")
    assert read_plan(Path("-")) == {"steps": []}
    given("grüße".encode())
    assert read_goal("-") == "grüße"
    given("grüße".encode("latin-1"), "latin-1")
    assert read_goal("-") == "grüße"
    given(b"\xff")
    with pytest.raises(click.BadParameter, match="standard input is not UTF-8"):
        read_context(Path("-"))


def test_an_empty_file_is_not_uploaded(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()

    with pytest.raises(click.BadParameter, match=r"empty\.txt is empty"):
        upload(ApiClient("http://127.0.0.1:9"), tmp_path / "empty.txt")
