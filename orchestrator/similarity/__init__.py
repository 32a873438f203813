"""Whether two goals are one task: the canonical key, and the guard that refuses a look-alike."""

from orchestrator.similarity.difference import Difference, known_difference
from orchestrator.similarity.key import canonical_key

__all__ = ["Difference", "canonical_key", "known_difference"]
