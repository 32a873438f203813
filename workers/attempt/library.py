"""Lets an arm search documents: the store's index, of one tenant, with the embedding model where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from sqlalchemy import Engine

from orchestrator.chord.database import in_transaction, statement
from orchestrator.llm.embedding import Vectors
from orchestrator.memory import documents as index
from orchestrator.memory import retrieval
from orchestrator.memory.documents import Abilities, Document, IndexState, Passage, UnembeddedPassage
from orchestrator.memory.retrieval import Corpus, SearchQuery, SearchResult
from orchestrator.models.errors import StepError
from workers.attempt.model import ClaimEmbedder

PASSAGES_A_BATCH = 256


@dataclass(frozen=True)
class TenantLibrary:
    """One tenant's documents; each call is a transaction of its own, or several."""

    engine: Engine
    tenant: str
    embedder: ClaimEmbedder | None = None

    def describe(self, documents: Sequence[Document]) -> dict[Document, IndexState]:
        """Return what is indexed of those of the documents that are."""
        with statement(self.engine) as conn:
            return index.describe(conn, self.tenant, documents)

    def add(
        self,
        document: Document,
        *,
        passages: Sequence[Passage],
        files: int,
        skipped: Sequence[dict[str, str]],
    ) -> None:
        """Index a document; calling it twice is safe."""
        in_transaction(
            self.engine,
            lambda conn: index.add(
                conn, self.tenant, document, passages=passages, files=files, skipped=skipped
            ),
        )

    def search(
        self, sought: SearchQuery, *, documents: Sequence[Document], given: Sequence[Passage], limit: int
    ) -> tuple[SearchResult, list[str]]:
        """Return the passages that fit best, and warnings about ways of searching that were asked for and failed."""
        sought, warnings = self._meant(sought, documents)
        with statement(self.engine) as conn:
            found = retrieval.search(
                conn,
                sought,
                Corpus(self.tenant, documents, given),
                abilities=abilities_of(self.engine),
                limit=limit,
            )
        return found, warnings

    def _meant(self, sought: SearchQuery, documents: Sequence[Document]) -> tuple[SearchQuery, list[str]]:
        """Add to what is sought what the embedding model makes of it; without that, words still find passages."""
        if self.embedder is None or sought.literal or not documents:
            return sought, []
        if not abilities_of(self.engine).meaning:
            return sought, [f"{_NOT_BY_MEANING}: this Postgres has no pgvector"]
        try:
            self._embed_passages(self.embedder, documents)
            vector = self.embedder.embed([sought.query])[0]
        except StepError as error:
            return sought, [f"{_NOT_BY_MEANING}: {error.message}"]
        return replace(sought, model=self.embedder.model, vector=vector), []

    def _embed_passages(self, embedder: ClaimEmbedder, documents: Sequence[Document]) -> None:
        """Ask about the passages that nobody asked about yet; each batch is kept, whatever becomes of the next."""
        while True:
            with statement(self.engine) as conn:
                unread = index.without_vectors(
                    conn, self.tenant, documents, model=embedder.model, limit=PASSAGES_A_BATCH
                )
            if not unread:
                return
            vectors = embedder.embed([passage.content for passage in unread])
            self._keep(embedder.model, unread, vectors)

    def _keep(self, model: str, passages: Sequence[UnembeddedPassage], vectors: Vectors) -> None:
        in_transaction(
            self.engine,
            lambda conn: index.add_vectors(
                conn, self.tenant, model=model, passages=passages, vectors=vectors
            ),
        )


_NOT_BY_MEANING = "passages were not compared by meaning, as EMBEDDINGS asks"


@cache
def abilities_of(engine: Engine) -> Abilities:
    """Return what the server can search by besides words; asked once a process."""
    with statement(engine) as conn:
        return index.abilities(conn)
