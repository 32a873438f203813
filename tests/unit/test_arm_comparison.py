"""Tables are compared by keys, texts by lines in linear time, and values by what differs."""

import difflib
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.safety.archive import pack
from tests.unit.arm_kit import assignment, run
from workers.arms.comparison import matching, unified
from workers.arms.tables import delimiter_of, read_delimited

OLD = b"id,name,price\n1,bolt,0.10\n2,nut,0.20\n3,washer,0.05\n"
NEW = '﻿id;name;price;stock\r\n3;washer;0.06;9\r\n1;"bolt; long";0.10;5\r\n4;screw;1.00;\r\n'.encode()


def tables(first: bytes, second: bytes, **inputs: Any) -> dict[str, Any]:
    files = {"old.csv": first, "new.csv": second}
    found: dict[str, Any] = run(assignment("retriever", "compare_tables", inputs, files=files)).output
    return found


def test_two_tables_are_compared_by_a_column_with_unique_values() -> None:
    found = tables(OLD, NEW)

    assert found["keys"] == ["id"]
    assert found["added"] == {
        "columns": ["id", "name", "price", "stock"],
        "rows": [["4", "screw", "1.00", ""]],
    }
    assert found["removed"]["rows"] == [["2", "nut", "0.20"]]
    assert found["changed"] == [
        {"row": "id=1", "column": "name", "before": "bolt", "after": "bolt; long"},
        {"row": "id=3", "column": "price", "before": "0.05", "after": "0.06"},
    ]
    assert (found["columns_added"], found["columns_removed"]) == (["stock"], [])
    assert found["summary"] == "1 row added, 1 removed, 2 cells changed, compared by id"
    assert tables(OLD, OLD + b"\n")["equal"] is True


def test_keys_may_be_given_and_rows_with_the_same_key_are_not_lost() -> None:
    first, second = b"a,b,c\nx,1,1\nx,1,2\n", b"a,b,c\nx,1,1\nx,1,3\nx,1,4\n"

    result = run(
        assignment(
            "retriever", "compare_tables", {"keys": ["a", "b"]}, files={"1.csv": first, "2.csv": second}
        )
    )

    assert result.output["changed"] == [{"row": "a=x, b=1", "column": "c", "before": "2", "after": "3"}]
    assert result.output["added"]["rows"] == [["x", "1", "4"]]
    assert "the first table has 1 row with a key that an earlier row has" in result.warnings
    with pytest.raises(
        InvalidStepInput, match="'z' is not a column of both tables; columns of both: a, b, c"
    ):
        tables(first, second, keys=["z"])


def test_without_a_key_equal_rows_are_pairs() -> None:
    found = tables(b"a,b\nx,1\nx,1\n", b"a,b\nx,1\ny,1\n")

    assert found["keys"] == []
    assert (found["added"]["rows"], found["removed"]["rows"]) == ([["y", "1"]], [["x", "1"]])


@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        (b"a\tb\n1\t2\n", ["a", "b"], [["1", "2"]]),
        ("a|b\n1|ü\n".encode("utf-16"), ["a", "b"], [["1", "ü"]]),
        ("preis;st\xfcck\n1,5;2\n".encode("cp1252"), ["preis", "stück"], [["1,5", "2"]]),
        (b'a,b\n"x\ny","say ""hi"""\n', ["a", "b"], [["x\ny", 'say "hi"']]),
        (
            b"a,,a\n1,2,3,4\n5\n",
            ["a", "column 2", "a (3)", "column 4"],
            [["1", "2", "3", "4"], ["5", "", "", ""]],
        ),
    ],
)
def test_a_table_is_read_whatever_its_encoding_and_its_delimiter(
    content: bytes, columns: list[str], rows: list[list[str]]
) -> None:
    table = read_delimited(content, "it.csv")

    assert (table.columns, table.rows) == (columns, rows)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it.csv holds no table"),
        (b"a,b\n\0\0", "it is binary"),
        (b'a,b\n"' + b"x" * 200_000, "a quote may be missing there"),
        (b"a,b\n" + b",".join([b"1"] * 600_000), "more than 500,000 cells"),
        (b",".join([b"1"] * 2_000), "at most 1,000 columns"),
    ],
)
def test_a_table_that_hurts_is_refused_with_a_reason(content: bytes, told: str) -> None:
    with pytest.raises(InvalidStepInput, match=told):
        read_delimited(content, "it.csv")


def test_a_delimiter_inside_of_quotes_is_none() -> None:
    assert delimiter_of('"a,b,c";"d,e"\n"f,g,h";"i,j"\n') == ";"


def test_two_texts_are_compared_as_a_unified_diff() -> None:
    files = {"a.txt": b"one\ntwo\nthree\n", "b.txt": b"one\r\n2\r\nthree\r\n"}

    found = run(assignment("retriever", "diff", files=files)).output

    assert found["diff"] == "--- a.txt\n+++ b.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three"
    assert (found["added"], found["removed"], found["equal"]) == (1, 1, False)


def test_two_archives_are_compared_file_by_file(tmp_path: Path) -> None:
    for place, texts in (("old", {"a": "1\n", "b": "2\n"}), ("new", {"a": "1\n", "c": "3\n"})):
        for name, text in texts.items():
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / name).write_text(text)
    (tmp_path / "old" / "x.png").write_bytes(b"\0")
    (tmp_path / "new" / "x.png").write_bytes(b"\0\0")
    files = {f"{name}.tar.gz": pack(tmp_path / name) for name in ("old", "new")}

    found = run(assignment("retriever", "diff", files=files)).output

    assert [(file["file"], file["status"][:7]) for file in found["files"]] == [
        ("b", "removed"),
        ("c", "added"),
        ("x.png", "changed"),
    ]
    assert found["summary"] == "3 files of 4 differ, 1 line added, 1 removed"
    assert "--- /dev/null\n+++ c\n@@ -0,0 +1 @@\n+3" in found["diff"]


def test_a_diff_is_right_for_texts_made_by_chance() -> None:
    chance = random.Random(8)
    for _ in range(200):
        before = [chance.choice("abcdefgh") for _ in range(chance.randrange(30))]
        after = [chance.choice("abcdefgh") for _ in range(chance.randrange(30))]
        pairs = matching(before, after)

        assert all(before[one] == after[other] for one, other in pairs)
        assert pairs == sorted(set(pairs))
        assert all(one[1] < other[1] for one, other in pairwise(pairs))
        whole = list(difflib.unified_diff(before, after, "a", "b", n=100, lineterm=""))
        assert (not list(unified(before, after, "a", "b"))) == (not whole)


def test_a_diff_of_texts_built_to_hurt_takes_linear_time() -> None:
    before, after = ["a", "b"] * 50_000, ["b", "a"] * 50_000

    assert len(matching(before, after)) <= 100_000
    assert sum(line.startswith("+") for line in unified(before, after, "a", "b")) > 1


def test_values_that_differ_are_shown_with_what_differs() -> None:
    values = {"x.txt": "1\n2\n", "y.txt": "1\n2\n", "z.txt": "1\n3\n"}

    found = run(assignment("retriever", "compare", {"values": values})).output

    assert found["text"].splitlines() == [
        "x.txt, y.txt: are equal",
        "z.txt: alone, and differ from x.txt:",
        "--- x.txt",
        "+++ z.txt",
        "@@ -1,2 +1,2 @@",
        " 1",
        "-2",
        "+3",
    ]
    assert found["groups"][1]["value"] == "1\n3\n"
