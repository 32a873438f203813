"""The retriever says what is there, and quotes it verbatim with its place."""

import hashlib
from pathlib import Path

import pytest

from orchestrator.archive import pack
from orchestrator.errors import InvalidStepInput, StepCancelled, ToolTimeout
from tests.unit.arm_kit import assignment, run
from workers.arms.base import CancelToken
from workers.arms.ranking import Passage, Query, rank

MANUAL = b"""# Deliveries

A late delivery is refunded in full.
The refund takes three days.

# Returns

Returns are free within 30 days.
"""


def package(tmp_path: Path) -> bytes:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "__init__.py").write_text('"""Thing."""\n')
    (tmp_path / "thing" / "core.py").write_text("def double(x):\n    return 2 * x")
    (tmp_path / "test_core.py").write_text("def test_a():\n    pass\n\nasync def test_b():\n    pass\n")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\0")
    return pack(tmp_path)


def test_an_inventory_counts_what_is_there(tmp_path: Path) -> None:
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


def test_a_search_quotes_the_best_passage_with_its_place() -> None:
    output = run(
        assignment(
            "retriever", "search", {"query": "late refund"}, files={"manual.md": MANUAL, "other.md": b"x\n"}
        )
    ).output

    best = output["matches"][0]
    assert (best["file"], best["line"], best["end_line"]) == ("manual.md", 3, 4)
    assert best["quote"] == "A late delivery is refunded in full.\nThe refund takes three days."
    assert output["files_searched"] == 2


def test_a_phrase_must_stand_as_it_is_and_in_any_case() -> None:
    def found(query: str) -> int:
        return int(
            run(assignment("retriever", "search", {"query": query}, context=MANUAL.decode())).output["found"]
        )

    assert found('"LATE delivery"') == 1
    assert found('"delivery late"') == 0
    assert found("delivery late") == 1


def test_what_is_no_text_is_named_and_not_searched() -> None:
    result = run(
        assignment("retriever", "search", {"query": "png"}, files={"a.bin": b"png\0", "b.txt": b"\xff png"})
    )

    assert result.output["found"] == 0
    assert {item["reason"] for item in result.output["skipped"]} == {"binary", "not UTF-8"}
    assert "2 files not read" in result.warnings[0]


def test_the_context_is_searched_and_cited_by_its_own_name() -> None:
    output = run(assignment("retriever", "search", {"query": "blue"}, context={"sky": "blue"})).output

    assert [match["file"] for match in output["matches"]] == ["(context)"]


def test_a_collection_holds_what_it_was_given() -> None:
    values = {"a": [1, {"b": None}], "c": "d"}

    output = run(assignment("retriever", "collect", {"values": values})).output

    assert output["values"] == values
    assert output["summary"] == "2 values collected: a, c"


def test_inputs_that_break_the_contract_are_refused_with_their_place() -> None:
    with pytest.raises(InvalidStepInput) as refused:
        run(assignment("retriever", "search", {"query": "", "limit": 0}))

    assert {fault["field"] for fault in refused.value.details["errors"]} == {"query", "limit"}


def test_an_attachment_of_another_task_is_not_read() -> None:
    with pytest.raises(InvalidStepInput, match="not an attachment"):
        run(assignment("retriever", "inventory", {"attachment": "f" * 64}, files={"a.txt": b"a"}))


def test_an_arm_that_was_cancelled_stops_and_one_that_is_late_says_so() -> None:
    token = CancelToken()
    token.set()

    with pytest.raises(StepCancelled):
        run(assignment("retriever", "search", {"query": "a"}, cancelled=token))
    with pytest.raises(ToolTimeout):
        run(assignment("retriever", "search", {"query": "a"}, seconds=-1, cancelled=token))


def test_a_rare_word_weighs_more_than_a_common_one_and_a_long_passage_less() -> None:
    rare = Passage("a", 1, ("the zebra",))
    common = Passage("b", 1, ("the the the",))
    others = [Passage("c", line, ("the cat",)) for line in range(1, 20)]
    long = Passage("d", 1, ("zebra " + "word " * 200,))

    hits = rank(Query.parse("zebra the"), [common, long, rare, *others])

    assert hits[0].passage is rare
    assert rank(Query.parse("zebra"), [long, rare])[0].passage is rare
    assert rank(Query.parse("giraffe"), [long, rare]) == []
