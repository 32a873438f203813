"""Owns the index of documents: passages of artifacts' texts, found by Postgres' full-text search."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from orchestrator import record
from orchestrator.sql import load

_ROWS_A_STATEMENT = 1_000

_SQL = load(__file__)


@dataclass(frozen=True)
class Document:
    """An artifact as a text to search; `unpacked` says that it was read as an archive."""

    sha256: str
    unpacked: bool


@dataclass(frozen=True)
class Passage:
    """Consecutive lines, or a piece of a long one: its place, 1-based lines and the byte it starts at."""

    file: str
    line: int
    end_line: int
    first_byte: int
    content: str


@dataclass(frozen=True)
class Holding:
    """What of a document is indexed, and {file, reason} of what is no text."""

    files: int
    passages: int
    skipped: list[dict[str, str]]


@dataclass(frozen=True)
class Hit:
    """A passage that fits; `document` is None for a text that came with the call."""

    document: Document | None
    passage: Passage
    score: float
    terms: list[str]


@dataclass(frozen=True)
class Found:
    """The best passages, how many fit in all, and whether each fits the whole query or one of its terms."""

    hits: list[Hit]
    total: int
    loosely: bool


def describe(conn: Connection, tenant: str, documents: Sequence[Document]) -> dict[Document, Holding]:
    """Return what is indexed of those of the documents that are."""
    rows = conn.exec_driver_sql(_SQL["describe"], {"tenant": tenant, **_keys(documents)})
    return {Document(row.sha256, row.unpacked): Holding(row.files, row.passages, row.skipped) for row in rows}


def add(
    conn: Connection,
    tenant: str,
    document: Document,
    *,
    passages: Sequence[Passage],
    files: int,
    skipped: Sequence[dict[str, str]],
) -> None:
    """Index a document in the caller's transaction; one that is indexed already stays as it is."""
    key = {"tenant": tenant, "sha256": document.sha256, "unpacked": document.unpacked}
    counts = {"files": files, "passages": len(passages), "skipped": record.encode(list(skipped))}
    if conn.exec_driver_sql(_SQL["add_document"], {**key, **counts}).one_or_none() is None:
        return
    rows = [{"number": number, **asdict(passage)} for number, passage in enumerate(passages)]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = record.encode(rows[start : start + _ROWS_A_STATEMENT])
        conn.exec_driver_sql(_SQL["add_passages"], {**key, "rows": part})


def search(
    conn: Connection,
    tenant: str,
    *,
    query: str,
    terms: Sequence[str],
    documents: Sequence[Document],
    given: Sequence[Passage] = (),
    limit: int,
) -> Found:
    """Return the passages of the documents, and of those `given`, that fit the query best.

    `query` is in websearch syntax. Where no passage fits all of it, those are found that hold one of `terms`.
    """
    asked = conn.exec_driver_sql(_SQL["read_query"], {"query": query, "terms": list(terms)}).one()
    values = {
        "tenant": tenant,
        **_keys(documents),
        "given": record.encode([asdict(passage) for passage in given]),
        "terms": list(terms),
        "limit": limit,
    }
    found = _search(conn, {**values, "query": asked.every}, loosely=False)
    return found if found.hits else _search(conn, {**values, "query": asked.some}, loosely=True)


def _search(conn: Connection, values: dict[str, object], *, loosely: bool) -> Found:
    rows = conn.exec_driver_sql(_SQL["search"], values).all()
    hits = [
        Hit(
            Document(row.sha256, row.unpacked) if row.sha256 else None,
            Passage(row.file, row.line, row.end_line, row.first_byte, row.content),
            row.score,
            row.terms,
        )
        for row in rows
    ]
    return Found(hits, rows[0].found if rows else 0, loosely)


def _keys(documents: Sequence[Document]) -> dict[str, list[str] | list[bool]]:
    return {
        "ids": [document.sha256 for document in documents],
        "unpacked": [document.unpacked for document in documents],
    }
