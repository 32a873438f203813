"""What a goal says to the letter, and the words around it."""

from hashlib import blake2b

from orchestrator.similarity.key import canonical_tokens
from orchestrator.similarity.token import Kind
from orchestrator.similarity.words import words

_FUNCTION = words("article", "function")


def signature_of(goal: str) -> str:
    """Return a digest of the goal's numbers, quotes, identifiers and symbols, in whatever order.

    Goals of different signatures are different tasks: the guard demands all of these to be equal.
    """
    said = sorted(f"{token.kind}{token.text}" for token in canonical_tokens(goal) if token.kind != Kind.WORD)
    framed = "".join(f"{len(part)}:{part}" for part in said)
    return blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def words_of(goal: str) -> frozenset[str]:
    """Return the goal's words that carry meaning."""
    return frozenset(
        token.text
        for token in canonical_tokens(goal)
        if token.kind is Kind.WORD and token.text not in _FUNCTION
    )
