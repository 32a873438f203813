"""A goal with typed blanks where its numbers, quotes, code and identifiers stand, and what fills them."""

from dataclasses import dataclass
from hashlib import blake2b

from orchestrator.similarity.key import canonical_tokens
from orchestrator.similarity.token import Kind, Token

_VERSION = "t1"
_FILLED = frozenset((Kind.NUMBER, Kind.QUOTE, Kind.CODE, Kind.ID))
_LEAST_WORDS = 2


@dataclass(frozen=True)
class Template:
    """Goals of one `digest` differ only in their `values`, which are written as the goal writes them.

    A value that the goal names twice is one value.
    """

    digest: str
    values: tuple[str, ...]


def template_of(goal: str) -> Template | None:
    """Return the goal's template; None where a number is written in words, or there are hardly any words around."""
    parts: list[str] = [_VERSION]
    values: list[str] = []
    tokens = canonical_tokens(goal)
    if sum(token.kind is Kind.WORD for token in tokens) < _LEAST_WORDS or any(map(_is_spoken, tokens)):
        return None
    for token in tokens:
        if token.kind in _FILLED:
            if token.written not in values:
                values.append(token.written)
            parts += [token.kind, str(values.index(token.written))]
        else:
            parts += [token.kind, token.text]
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return Template(
        blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(), tuple(values)
    )


def _is_spoken(token: Token) -> bool:
    """Tell whether a number is written so that a plan would write it otherwise: three, 1,000."""
    return token.kind is Kind.NUMBER and token.text != token.written
