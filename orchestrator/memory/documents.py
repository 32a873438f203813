"""Maintains the search index: documents, their passages, and the passages' embedding vectors."""

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
    """An artifact as searchable text; `unpacked` if it was read as an archive."""

    sha256: str
    unpacked: bool


@dataclass(frozen=True)
class Passage:
    """Consecutive lines, or a piece of a long line. Lines are 1-based; `first_byte` is the offset in the file."""

    file: str
    line: int
    end_line: int
    first_byte: int
    content: str


@dataclass(frozen=True)
class IndexState:
    """How much of a document is indexed, and {file, reason} for each file that was skipped."""

    files: int
    passages: int
    skipped: list[dict[str, str]]


@dataclass(frozen=True)
class Abilities:
    """The server's search extensions: `trigrams` needs pg_trgm, `meaning` needs pgvector."""

    trigrams: bool
    meaning: bool


@dataclass(frozen=True)
class UnembeddedPassage:
    """A passage without a vector of some embedding model; `number` is its position in the document."""

    document: Document
    number: int
    content: str


def describe(conn: Connection, tenant: str, documents: Sequence[Document]) -> dict[Document, IndexState]:
    """Return the index state of those of the documents that are indexed."""
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
    """Index a document in the caller's transaction; an indexed document does not change."""
    key = {"tenant": tenant, "sha256": document.sha256, "unpacked": document.unpacked}
    counts = {"files": files, "passages": len(passages), "skipped": record.encode(list(skipped))}
    if conn.exec_driver_sql(_SQL["add_document"], {**key, **counts}).one_or_none() is None:
        return
    rows = [{"number": number, **asdict(passage)} for number, passage in enumerate(passages)]
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = record.encode(rows[start : start + _ROWS_A_STATEMENT])
        conn.exec_driver_sql(_SQL["add_passages"], {**key, "rows": part})


def abilities(conn: Connection) -> Abilities:
    """Return the server's search extensions."""
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
    """Store one vector for each passage; calling it twice is safe. Needs pgvector."""
    rows = [
        {**asdict(passage.document), "number": passage.number, "embedding": vector_text(vector)}
        for passage, vector in zip(passages, vectors, strict=True)
    ]
    values = {"tenant": tenant, "model": model, "rows": record.encode(rows)}
    conn.exec_driver_sql(_SQL["add_vectors"], values)


def vector_text(vector: Vector) -> str:
    """Return the vector as text for pgvector."""
    return f"[{','.join(map(repr, vector))}]"


def document_parameters(documents: Sequence[Document]) -> dict[str, list[str] | list[bool]]:
    """Return the statement parameters `ids` and `unpacked` for these documents."""
    return {
        "ids": [document.sha256 for document in documents],
        "unpacked": [document.unpacked for document in documents],
    }
