"""Texts are counted, columns of numbers added up exactly, and links of documents checked without fetching any."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.safety.archive import pack
from tests.unit.arm_kit import assignment, run

PRICES = b'item,price,note\nbolt,0.1,x\nnut,0.2,\nbox,"1,000.50",7\n'


def test_lines_words_and_characters_are_counted_by_file() -> None:
    found = run(assignment("retriever", "measure", files={"a.txt": "Grüße, it's me\nend".encode()})).output

    assert found["total"] == {"lines": 2, "words": 4, "characters": 18, "bytes": 20}
    assert found["files"] == [{"file": "a.txt", **found["total"]}]


def test_columns_of_numbers_are_added_up_exactly() -> None:
    found = run(assignment("retriever", "measure", files={"p.csv": PRICES})).output

    assert found["columns"] == [
        {
            "file": "p.csv",
            "column": "price",
            "count": 3,
            "sum": 1000.8,
            "mean": 333.6,
            "min": 0.1,
            "max": 1000.5,
            "not_numbers": 0,
        }
    ]


def test_a_named_column_tells_what_in_it_is_no_number() -> None:
    (found,) = run(assignment("retriever", "measure", {"column": "Note"}, files={"p.csv": PRICES})).output[
        "columns"
    ]

    assert (found["count"], found["sum"], found["not_numbers"]) == (1, 7, 1)
    with pytest.raises(InvalidStepInput, match="has a column 'cost'; columns: item, note, price"):
        run(assignment("retriever", "measure", {"column": "cost"}, files={"p.csv": PRICES}))


README = """\
# The guide

[there](docs/a.md#two-words) [not there](docs/none.md) [the guide](#the-guide) ![](img/x.png)
[outside](https://example.com/x) [up](../secret) [late](docs/a.md#three) [mail](mailto:a@b.c)
`[code](none.md)` [odd](<docs/a b.md>)

```
[code](none.md)
```
[ref]: docs/page.html#top-of-it
"""


@pytest.fixture
def documents(tmp_path: Path) -> bytes:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "docs" / "a.md").write_text("## Two `words`!\n\n[back](../README.md) [root](/README.md)\n")
    (tmp_path / "docs" / "a b.md").write_text("x")
    (tmp_path / "docs" / "page.html").write_text(
        '<h1 id="top-of-it">x</h1><a href="a.md?x=1&amp;y=2">a</a>\n'
    )
    return pack(tmp_path)


def checked(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = run(assignment("retriever", "check_links", files={"site.tar.gz": content})).output
    return found


def test_broken_links_and_anchors_are_found_with_their_lines(documents: bytes) -> None:
    found = checked(documents)

    assert [(item["line"], item["message"]) for item in found["broken"]] == [
        (3, "docs/none.md: there is no docs/none.md"),
        (3, "img/x.png: there is no img/x.png"),
        (4, "../secret: it leads out of what is attached"),
        (4, "docs/a.md#three: docs/a.md has no heading or id three"),
    ]
    assert {item["file"] for item in found["broken"]} == {"README.md"}
    assert [item["link"] for item in found["external"]] == ["https://example.com/x", "mailto:a@b.c"]
    assert found["summary"] == "13 links in 4 documents: 4 broken, 2 external (not fetched)"


@pytest.mark.parametrize("text", ["](" * 5_000, "[a](" + "x" * 100_000, "`" * 100_000, "<a href=" * 20_000])
def test_a_document_built_to_hurt_takes_linear_time(text: str) -> None:
    found = run(assignment("retriever", "check_links", files={"a.md": text.encode()})).output

    assert found["documents"] == 1
