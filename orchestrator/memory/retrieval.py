"""Searches passages by words, trigrams and embeddings, as the server supports them, and ranks them together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection

from orchestrator.chord.sql import load
from orchestrator.memory.documents import (
    Abilities,
    Document,
    Passage,
    Vector,
    document_parameters,
    vector_text,
)
from orchestrator.models import record

RRF_K = 60
"""Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", SIGIR 2009."""
CANDIDATES = 50
"""How many passages each search method contributes; at least as many as are requested."""
LEAST_TRIGRAM_LETTERS = 4
"""Shorter terms are similar to too many words."""
LEAST_LIKENESS = 0.4
"""The least similarity of two spellings by pg_trgm; its default, 0.6, rejects words with one wrong letter."""

_SQL = load(__file__)
_BY_TRIGRAMS = f"{_SQL['set_likeness']}\n{_SQL['by_trigrams']}"


@dataclass(frozen=True)
class SearchQuery:
    """A query in websearch syntax, with its `terms` and its `unwanted` words, as "-word -word".

    A `literal` query contains phrases or excluded words, so it is searched by words only. `vector` is its embedding
    by `model`.
    """

    query: str
    terms: Sequence[str]
    unwanted: str = ""
    literal: bool = False
    model: str = ""
    vector: Vector | None = None


@dataclass(frozen=True)
class Corpus:
    """What to search: indexed documents of a tenant, and passages `given` with the call."""

    tenant: str
    documents: Sequence[Document]
    given: Sequence[Passage] = ()


@dataclass(frozen=True)
class Hit:
    """A matching passage; `document` is None for a text that came with the call.

    `score` is the sum of 1 / (60 + rank) over the methods in `found_by`: words, trigrams, meaning.
    """

    document: Document | None
    passage: Passage
    terms: list[str]
    found_by: tuple[str, ...]
    score: float = 0.0


@dataclass(frozen=True)
class SearchResult:
    """The best passages, the total number found, and `loosely` if none contains all words of the query."""

    hits: list[Hit]
    total: int
    loosely: bool


def search(
    conn: Connection, sought: SearchQuery, corpus: Corpus, *, abilities: Abilities, limit: int
) -> SearchResult:
    """Return the `limit` best passages of the corpus.

    If no passage contains all words of the query, passages that contain one of its terms count.
    """
    question = {"query": sought.query, "terms": list(sought.terms), "unwanted": sought.unwanted}
    asked = conn.exec_driver_sql(_SQL["read_query"], question).one()
    values: dict[str, Any] = {
        "tenant": corpus.tenant,
        **document_parameters(corpus.documents),
        "given": record.encode([asdict(passage) for passage in corpus.given]),
        "terms": list(sought.terms),
        "limit": max(limit, CANDIDATES),
    }
    values["query"] = asked.every
    rows = _rows(conn, "by_words", values)
    loosely = not rows
    if loosely:
        values["query"] = asked.some
        rows = _rows(conn, "by_words", values)
    rankings = [_hits(rows, "words")]
    others = [] if sought.literal else _beside_words(conn, sought, values, abilities=abilities)
    rankings += [_hits(found, way) for way, found in others]
    strangers = {_place(row) for _, found in others for row in found if not row.fits}
    total = (rows[0].found if rows else 0) + len(strangers)
    return SearchResult(fuse(rankings, terms=sought.terms)[:limit], total, loosely)


def fuse(rankings: Sequence[Sequence[Hit]], *, terms: Sequence[str] = ()) -> list[Hit]:
    """Merge rankings by reciprocal rank fusion; equal scores keep the order of the first ranking they are in."""
    fused: dict[tuple[Document | None, Passage], Hit] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            key = (hit.document, hit.passage)
            known = fused.get(key, replace(hit, terms=[], found_by=()))
            held = {*known.terms, *hit.terms}
            fused[key] = replace(
                known,
                terms=[term for term in terms if term in held],
                found_by=(*known.found_by, *hit.found_by),
                score=known.score + 1 / (RRF_K + rank),
            )
    return sorted(fused.values(), key=lambda hit: -hit.score)


def _beside_words(
    conn: Connection, sought: SearchQuery, values: Mapping[str, Any], *, abilities: Abilities
) -> list[tuple[str, Sequence[Any]]]:
    found = []
    if abilities.trigrams:
        long = [term for term in sought.terms if len(term) >= LEAST_TRIGRAM_LETTERS]
        spelt = {**values, "terms": long, "likeness": str(LEAST_LIKENESS)}
        found.append(("trigrams", conn.exec_driver_sql(_BY_TRIGRAMS, spelt).all()))
    if abilities.meaning and sought.vector is not None:
        meant = {"model": sought.model, "vector": vector_text(sought.vector)}
        found.append(("meaning", _rows(conn, "by_meaning", {**values, **meant})))
    return found


def _rows(conn: Connection, way: str, values: Mapping[str, Any]) -> Sequence[Any]:
    return conn.exec_driver_sql(_SQL[way], dict(values)).all()


def _hits(rows: Sequence[Any], way: str) -> list[Hit]:
    return [Hit(*_place(row), row.terms, (way,)) for row in rows]


def _place(row: Any) -> tuple[Document | None, Passage]:
    document = Document(row.sha256, row.unpacked) if row.sha256 else None
    return document, Passage(row.file, row.line, row.end_line, row.first_byte, row.content)
