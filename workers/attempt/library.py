"""TenantLibrary: the document index as an arm may use it, limited to one tenant."""

from collections.abc import Callable, Sequence
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
from workers.attempt.model import AttemptEmbedder

PASSAGES_A_BATCH = 256


@dataclass(frozen=True)
class TenantLibrary:
    """One tenant's documents; each call runs one or more transactions of its own.

    `open_embedder` is called at the first search by meaning; it returns None when no embedding model is configured.
    """

    engine: Engine
    tenant: str
    open_embedder: Callable[[], AttemptEmbedder | None] = lambda: None

    def describe(self, documents: Sequence[Document]) -> dict[Document, IndexState]:
        """Return what the index holds of each document; documents that are not indexed are left out."""
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
        """Return the best matching passages, and a warning for each requested way of searching that failed."""
        sought, warnings = self._with_vector(sought, documents)
        with statement(self.engine) as conn:
            found = retrieval.search(
                conn,
                sought,
                Corpus(self.tenant, documents, given),
                abilities=abilities_of(self.engine),
                limit=limit,
            )
        return found, warnings

    def _with_vector(
        self, sought: SearchQuery, documents: Sequence[Document]
    ) -> tuple[SearchQuery, list[str]]:
        """Add the query's vector; without it, passages are still found by words."""
        if sought.literal or not documents:
            return sought, []
        embedder = self.open_embedder()
        if embedder is None:
            return sought, []
        if not abilities_of(self.engine).meaning:
            return sought, [f"{_NOT_BY_MEANING}: this Postgres has no pgvector"]
        try:
            self._embed_passages(embedder, documents)
            vector = embedder.embed([sought.query])[0]
        except StepError as error:
            return sought, [f"{_NOT_BY_MEANING}: {error.message}"]
        return replace(sought, model=embedder.model, vector=vector), []

    def _embed_passages(self, embedder: AttemptEmbedder, documents: Sequence[Document]) -> None:
        """Embed the passages that have no vector yet; each batch is stored before the next one is embedded."""
        while True:
            with statement(self.engine) as conn:
                without_vector = index.without_vectors(
                    conn, self.tenant, documents, model=embedder.model, limit=PASSAGES_A_BATCH
                )
            if not without_vector:
                return
            vectors = embedder.embed([passage.content for passage in without_vector])
            self._store(embedder.model, without_vector, vectors)

    def _store(self, model: str, passages: Sequence[UnembeddedPassage], vectors: Vectors) -> None:
        in_transaction(
            self.engine,
            lambda conn: index.add_vectors(
                conn, self.tenant, model=model, passages=passages, vectors=vectors
            ),
        )


_NOT_BY_MEANING = "passages were not compared by meaning, as EMBEDDINGS asks"


@cache
def abilities_of(engine: Engine) -> Abilities:
    """Return by what the server can search besides words; read once a process."""
    with statement(engine) as conn:
        return index.abilities(conn)
