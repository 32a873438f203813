"""Owns the index of documents: passages of artifacts' texts, and what embedding models say about them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from orchestrator.chord.sql import load
from orchestrator.models import record

_ROWS_A_STATEMENT = 1_000

_SQL = load(__file__)

Vector = Sequence[float]


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
class IndexState:
    """What of a document is indexed, and {file, reason} of what is no text."""

    files: int
    passages: int
    skipped: list[dict[str, str]]


@dataclass(frozen=True)
class Abilities:
    """What the server can search by besides words: pg_trgm is there, pgvector is there."""

    trigrams: bool
    meaning: bool


@dataclass(frozen=True)
class UnembeddedPassage:
    """A passage that an embedding model was not asked about yet."""

    document: Document
    number: int
    content: str


def describe(conn: Connection, tenant: str, documents: Sequence[Document]) -> dict[Document, IndexState]:
    """Return what is indexed of those of the documents that are."""
    rows = conn.exec_driver_sql(_SQL["describe"], {"tenant": tenant, **document_parameters(documents)})
    return {
        Document(row.sha256, row.unpacked): IndexState(row.files, row.passages, row.skipped) for row in rows
    }


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


def abilities(conn: Connection) -> Abilities:
    """Return what this server can search by besides words."""
    return Abilities(*conn.exec_driver_sql(_SQL["abilities"]).one())


def without_vectors(
    conn: Connection, tenant: str, documents: Sequence[Document], *, model: str, limit: int
) -> list[UnembeddedPassage]:
    """Return at most `limit` passages of the documents that have no vector of the model; needs pgvector."""
    values = {"tenant": tenant, **document_parameters(documents), "model": model, "limit": limit}
    rows = conn.exec_driver_sql(_SQL["without_vectors"], values)
    return [UnembeddedPassage(Document(row.sha256, row.unpacked), row.number, row.content) for row in rows]


def add_vectors(
    conn: Connection,
    tenant: str,
    *,
    model: str,
    passages: Sequence[UnembeddedPassage],
    vectors: Sequence[Vector],
) -> None:
    """Keep the vectors of passages, one each; calling it twice is safe. Needs pgvector."""
    rows = [
        {**asdict(passage.document), "number": passage.number, "embedding": vector_text(vector)}
        for passage, vector in zip(passages, vectors, strict=True)
    ]
    values = {"tenant": tenant, "model": model, "rows": record.encode(rows)}
    conn.exec_driver_sql(_SQL["add_vectors"], values)


def vector_text(vector: Vector) -> str:
    """Return the vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"


def document_parameters(documents: Sequence[Document]) -> dict[str, list[str] | list[bool]]:
    """Return the documents as the parameters `ids` and `unpacked`."""
    return {
        "ids": [document.sha256 for document in documents],
        "unpacked": [document.unpacked for document in documents],
    }
