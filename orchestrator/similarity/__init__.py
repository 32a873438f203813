"""Compares goals: the canonical key, the known differences of similar goals, and the words that goals share.

The rules are read and compiled when a process first compares goals, because workers of arms never do.
"""

# ruff: noqa: PLC0415 - see above

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.similarity.difference import Difference

__all__ = ["canonical_key", "known_difference", "signature_of", "words_of"]


def canonical_key(goal: str) -> str:
    """Return a key that is equal for goals that ask for the same; see canonical.canonical_key."""
    from orchestrator.similarity import canonical

    return canonical.canonical_key(goal)


def signature_of(goal: str) -> str:
    """Return a digest of the goal's numbers, names and symbols; see canonical.signature_of."""
    from orchestrator.similarity import canonical

    return canonical.signature_of(goal)


def words_of(goal: str) -> frozenset[str]:
    """Return the goal's content words; see canonical.words_of."""
    from orchestrator.similarity import canonical

    return canonical.words_of(goal)


def known_difference(one: str, other: str) -> "Difference | None":
    """Return a difference that makes two goals different tasks; see difference.known_difference."""
    from orchestrator.similarity import difference

    return difference.known_difference(one, other)
