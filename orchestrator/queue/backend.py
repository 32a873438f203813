"""Keeps the public name of the result backend; orchestrator.chord implements it."""

from orchestrator.chord.backend import PostgresBackend

__all__ = ["PostgresBackend"]
