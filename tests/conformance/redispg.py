"""Our backend under a name that starts with redis: without that about 100 of Celery's tests skip."""

from orchestrator.chord.backend import PostgresBackend

__all__ = ["PostgresBackend"]
