"""Compares goals: the canonical key, the known differences of similar goals, and the words that goals share."""

from orchestrator.similarity.canonical import canonical_key, signature_of, words_of
from orchestrator.similarity.difference import Difference, known_difference

__all__ = [
    "Difference",
    "canonical_key",
    "known_difference",
    "signature_of",
    "words_of",
]
