"""Whether two goals are one task: the canonical key, the guard that refuses a look-alike, and what goals share."""

from orchestrator.similarity.difference import Difference, known_difference
from orchestrator.similarity.key import canonical_key
from orchestrator.similarity.parameters import signature_of, words_of

__all__ = [
    "Difference",
    "canonical_key",
    "known_difference",
    "signature_of",
    "words_of",
]
