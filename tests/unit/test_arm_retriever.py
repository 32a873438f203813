"""The retriever lists what is attached, and quotes passages verbatim with their place."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.models.errors import InvalidStepInput, Stopped, ToolTimeout
from orchestrator.safety.archive import pack
from tests.unit.arm_kit import assignment, run
from workers.arms.base import CancelToken
from workers.arms.retriever import passages_of, terms_of
from workers.arms.sources import SourceText


def package(tmp_path: Path) -> bytes:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "__init__.py").write_text('"""Thing."""\n')
    (tmp_path / "thing" / "core.py").write_text("def double(x):\n    return 2 * x")
    (tmp_path / "test_core.py").write_text("def test_a():\n    pass\n\nasync def test_b():\n    pass\n")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\0")
    return pack(tmp_path)


def test_an_inventory_counts_files_packages_and_tests(tmp_path: Path) -> None:
    output = run(assignment("retriever", "inventory", files={"thing.tar.gz": package(tmp_path)})).output

    files = {file["path"]: file for file in output["files"]}
    assert output["total_files"] == 4
    assert output["python_files"] == 3
    assert output["packages"] == ["thing"]
    assert output["test_files"] == ["test_core.py"]
    assert output["test_functions"] == 2
    assert files["thing/core.py"]["lines"] == 2
    assert files["logo.png"]["lines"] is None
    assert files["logo.png"]["sha256"] == hashlib.sha256(b"\x89PNG\0").hexdigest()


def test_a_collection_returns_the_given_values() -> None:
    values = {"a": [1, {"b": None}], "c": "d"}

    output = run(assignment("retriever", "collect", {"values": values})).output

    assert output["values"] == values
    assert output["summary"] == "2 values collected: a, c"


def test_values_that_are_equal_as_json_are_in_one_group() -> None:
    values = {"a": {"x": 1, "y": [2]}, "b": "one", "c": {"y": [2], "x": 1}}

    output = run(assignment("retriever", "compare", {"values": values})).output

    assert [group["names"] for group in output["groups"]] == [["a", "c"], ["b"]]
    assert (output["compared"], output["distinct"], output["all_equal"]) == (3, 2, False)


def test_inputs_that_break_the_contract_are_refused_with_their_place() -> None:
    with pytest.raises(InvalidStepInput) as refused:
        run(assignment("retriever", "search", {"query": "", "limit": 0}))

    assert {fault["field"] for fault in refused.value.details["errors"]} == {"query", "limit"}


def test_an_attachment_of_another_task_is_not_read() -> None:
    with pytest.raises(InvalidStepInput, match="neither an attachment"):
        run(assignment("retriever", "inventory", {"attachment": "f" * 64}, files={"a.txt": b"a"}))


def test_a_cancelled_arm_stops_and_a_late_one_times_out() -> None:
    token = CancelToken()
    token.set()
    given = replace(assignment("retriever", "collect", {"values": 1}), cancelled=token)

    with pytest.raises(Stopped):
        run(given)
    with pytest.raises(ToolTimeout):
        run(replace(given, deadline=time.monotonic() - 1))


def test_a_passage_is_a_paragraph_and_names_its_lines_and_its_first_byte() -> None:
    text = "# Übersicht\r\n\r\nA late delivery.\nThree days.\n"

    passages = list(passages_of(SourceText("a.md", text)))

    assert [(item.line, item.end_line, item.content) for item in passages] == [
        (1, 1, "# Übersicht"),
        (3, 4, "A late delivery.\nThree days."),
    ]
    assert text.encode()[passages[1].first_byte :].startswith(b"A late")


def test_long_paragraphs_and_long_lines_are_split_without_loss() -> None:
    lines = ["x" * 30] * 30 + ["ü" * 5_000]

    passages = list(passages_of(SourceText("a.txt", "\n".join(lines))))

    assert "".join(item.content.replace("\n", "") for item in passages) == "".join(lines)
    assert max(len(item.content) for item in passages) <= 2_000
    assert [item.line for item in passages] == [1, 13, 25, 31, 31, 31]
    assert [item.first_byte - passages[3].first_byte for item in passages[3:]] == [0, 4_000, 8_000]


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ('"Late  delivery" refund', ["late delivery", "refund"]),
        ("refund or Return -broken", ["refund", "return"]),
        ("refund refund it's", ["refund", "it's"]),
        ('-"late delivery" end-to-end', ["end-to-end"]),
        ("  ", []),
    ],
)
def test_a_query_s_terms_are_its_phrases_and_words(query: str, terms: list[str]) -> None:
    assert terms_of(query) == terms
