"""The retriever finds passages by Postgres' full-text search and quotes them exactly."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from orchestrator.chord.database import statement, transaction
from orchestrator.memory import documents, files, retrieval
from orchestrator.memory.documents import Document, Passage
from orchestrator.memory.retrieval import Corpus, SearchQuery
from orchestrator.safety.archive import pack
from tests.integration.kit import TENANT
from tests.unit.arm_kit import assignment, run
from workers.attempt.library import TenantLibrary

MANUAL = b"""# Deliveries

A late delivery is refunded in full.
The refund takes three days.

# Returns

Returns are free within 30 days.
"""


class Reader:
    """One tenant's retriever on the real index."""

    def __init__(self, engine: Engine, tenant: str) -> None:
        self.engine = engine
        self.tenant = tenant

    def search(
        self, query: str, *, context: Any = None, limit: int = 10, **contents: bytes
    ) -> dict[str, Any]:
        """Store files (name__suffix) as artifacts and search in them."""
        named = {name.replace("__", "."): content for name, content in contents.items()}
        with transaction(self.engine) as conn:
            for name, content in named.items():
                files.put(conn, self.tenant, filename=name, media_type="text/plain", content=content)
        given = assignment(
            "retriever",
            "search",
            {"query": query, "limit": limit},
            files=named,
            context=context,
            library=TenantLibrary(self.engine, self.tenant),
        )
        result = run(given)
        return {**result.output, "warnings": result.warnings}


@pytest.fixture
def reader(engine: Engine) -> Reader:
    """A retriever of the usual tenant."""
    return Reader(engine, TENANT)


def places(output: dict[str, Any]) -> list[tuple[str, int]]:
    return [(match["file"], match["line"]) for match in output["matches"]]


def test_a_search_quotes_the_best_passage_with_its_place(reader: Reader) -> None:
    output = reader.search("late refund", manual__md=MANUAL, other__md=b"x\n")

    best = output["matches"][0]
    assert (best["file"], best["line"], best["end_line"]) == ("manual.md", 3, 4)
    assert best["quote"] == "A late delivery is refunded in full.\nThe refund takes three days."
    assert MANUAL[best["offset"] :].startswith(b"A late")
    assert (output["files_searched"], output["passages_searched"], output["found"]) == (2, 5, 1)


def test_all_words_must_match_unless_no_passage_has_all(reader: Reader) -> None:
    text = b"red apples\n\ngreen apples\n\ngreen and red pears\n"

    every = reader.search("green apples", a__txt=text)
    some = reader.search("green apples bananas", a__txt=text)

    assert places(every) == [("a.txt", 3)]
    assert places(some) == [("a.txt", 3), ("a.txt", 1), ("a.txt", 5)]
    assert some["matches"][0]["terms"] == ["green", "apples"]
    assert "(any of it)" in some["summary"]


def test_a_phrase_matches_exactly_in_any_case(reader: Reader) -> None:
    def found(query: str) -> int:
        return int(reader.search(query, context=MANUAL.decode())["found"])

    assert found('"LATE delivery"') == 1
    assert found('"delivery late"') == 0
    assert found("delivery late") == 1
    assert found("deliveries -late") == 1
    assert found("bananas refund -late") == 0


def test_words_match_in_all_their_forms(reader: Reader) -> None:
    assert places(reader.search("refunding", manual__md=MANUAL)) == [("manual.md", 3)]


@pytest.mark.parametrize("query", ["the of and", '"', "' ( ) & | ! : * <-> \\", "-late", "%s %(x)s", "😀"])
def test_any_query_is_answered(query: str, reader: Reader) -> None:
    output = reader.search(query, manual__md=MANUAL)

    assert output["found"] == len(output["matches"])


def test_a_file_that_is_not_text_is_named_and_not_searched(reader: Reader) -> None:
    output = reader.search("png", a__bin=b"png\0", b__txt=b"\xff png")

    assert output["found"] == 0
    assert output["skipped"] == [
        {"file": "a.bin", "reason": "binary"},
        {"file": "b.txt", "reason": "neither UTF-8 nor UTF-16 with its mark"},
    ]
    assert "2 files not read: a.bin is binary" in output["warnings"][0]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
def test_a_text_after_a_byte_order_mark_is_read(encoding: str, reader: Reader) -> None:
    output = reader.search("refund", a__txt="\ufeffA late refund\n".encode(encoding))

    assert [(match["line"], match["quote"]) for match in output["matches"]] == [(1, "A late refund")]


def test_the_context_is_searched_and_cited_by_its_own_name(reader: Reader) -> None:
    assert places(reader.search("blue", context={"sky": "blue"})) == [("(context)", 1)]


def test_a_document_is_cited_by_its_name_in_this_task(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("in the archive\n")
    packed = pack(tmp_path)

    alone = reader.search("archive", one__tgz=packed)
    beside = reader.search("archive", two__tgz=packed, three__txt=b"no archive\n")
    renamed = reader.search("archive", four__txt=b"no archive\n")

    assert places(alone) == [("a.txt", 1)]
    assert set(places(beside)) == {("two.tgz/a.txt", 1), ("three.txt", 1)}
    assert places(renamed) == [("four.txt", 1)]


def test_the_judge_finds_a_quote_at_its_stated_place(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("half " * 1_000 + "\n" + "one half\n" * 30)
    contents = {
        "a.txt": b"one\ntwo and a half\n",
        "b.txt": b"\n\nhalf\r\nhalf again\r\n",
        "c.tgz": pack(tmp_path),
    }
    stored: dict[str, Any] = {name.replace(".", "__"): content for name, content in contents.items()}

    found = reader.search("half", **stored)
    matches = found["matches"]

    checked = run(assignment("judge", "verify", {"citations": matches}, files=contents)).output
    assert (checked["failed"], checked["checked"]) == (0, len(matches))
    assert len(matches) == 8
    assert checked["citations"] == matches
    assert f"{matches[0]['file']}:{matches[0]['line']} “" in found["summary"]


def test_a_document_is_indexed_once(reader: Reader, engine: Engine) -> None:
    for _ in range(2):
        reader.search("late", manual__md=MANUAL)
    library = TenantLibrary(engine, TENANT)
    with statement(engine) as conn:
        known = conn.exec_driver_sql("SELECT sha256, unpacked, passages FROM documents").all()
    document = Document(known[0].sha256, known[0].unpacked)
    library.add(document, passages=[Passage("", 1, 1, 0, "late")], files=1, skipped=[])

    assert len(known) == 1
    assert library.describe([document])[document].passages == 4
    assert reader.search("late", manual__md=MANUAL)["found"] == 1


def test_another_tenant_s_documents_are_not_found(reader: Reader, engine: Engine) -> None:
    reader.search("late", manual__md=MANUAL)
    with statement(engine) as conn:
        row = conn.exec_driver_sql("SELECT sha256, unpacked FROM documents").one()
        found = retrieval.search(
            conn,
            SearchQuery("late", ["late"]),
            Corpus("other", [Document(*row)]),
            abilities=documents.abilities(conn),
            limit=5,
        )

    assert (found.hits, found.total) == ([], 0)


def test_a_search_in_many_passages_uses_the_index(engine: Engine, reader: Reader) -> None:
    many = b"".join(b"line %d of many words\n\n" % number for number in range(20_000)) + b"zebra\n"

    output = reader.search("zebra", many__txt=many)

    with engine.connect() as conn:
        conn.exec_driver_sql("VACUUM ANALYZE passages")
        plan = "\n".join(
            conn.exec_driver_sql("EXPLAIN SELECT 1 FROM passages WHERE words @@ 'zebra'::tsquery").scalars()
        )
    assert "passages_words" in plan, plan
    assert places(output) == [("many.txt", 40_001)]
