"""The public name of the result backend; the engine behind it is orchestrator.chord."""

from orchestrator.chord.backend import PostgresBackend

__all__ = ["PostgresBackend"]
