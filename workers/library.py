"""Lets an arm search documents: the store's index, of one tenant."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from orchestrator.store import documents as index
from orchestrator.store.documents import Document, Found, Holding, Passage
from orchestrator.store.engine import in_transaction, statement


@dataclass(frozen=True)
class TenantLibrary:
    """One tenant's documents; each call is a transaction of its own."""

    engine: Engine
    tenant: str

    def describe(self, documents: Sequence[Document]) -> dict[Document, Holding]:
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
        self,
        query: str,
        *,
        terms: Sequence[str],
        documents: Sequence[Document],
        given: Sequence[Passage],
        limit: int,
    ) -> Found:
        """Return the passages that fit best; see orchestrator.store.documents.search."""
        with statement(self.engine) as conn:
            return index.search(
                conn, self.tenant, query=query, terms=terms, documents=documents, given=given, limit=limit
            )
