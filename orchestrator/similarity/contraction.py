"""Contractions written out, before anything else looks at the words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import table, words

_WHOLE: Mapping[str, str] = table("contraction", "whole")
_BARE: Mapping[str, str] = table("contraction", "bare")
_SUFFIXES: Mapping[str, str] = table("contraction", "suffixes")
_IS_AFTER = words("contraction", "is_after")
_HAD_BEFORE = words("contraction", "had_before")
_HAS_BEFORE = words("contraction", "has_before")


def expanded(tokens: Sequence[Token]) -> list[Token]:
    """Write every contraction out: "what's" as "what is", "users'" as "users" and "'s"."""
    following = [*(token.text for token in tokens), ""][1:]
    return [
        part
        for token, then in zip(tokens, following, strict=True)
        for part in _expand(token, followed_by=then)
    ]


def _expand(token: Token, *, followed_by: str) -> Iterable[Token]:
    if token.kind is not Kind.WORD:
        return (token,)
    whole = _WHOLE.get(token.text) or _BARE.get(token.text)
    if whole is None and "'" not in token.text:
        return (token,)
    parts = whole.split() if whole else list(_parts(token.text, followed_by))
    return (
        token._replace(
            text=part, pause=token.pause and place == 0, written=token.written if place == 0 else part
        )
        for place, part in enumerate(parts)
    )


def _parts(text: str, followed_by: str) -> Iterator[str]:
    tail: list[str] = []
    while suffix := next((end for end in _SUFFIXES if text.endswith(end) and text != end), None):
        tail.append(_written_out(suffix, followed_by))
        text = text.removesuffix(suffix)
    if text in _WHOLE:
        yield from _WHOLE[text].split()
    elif text.endswith("'s") and text.removesuffix("'s") in _IS_AFTER:
        yield text.removesuffix("'s")
        yield "has" if followed_by in _HAS_BEFORE else "is"
    elif text.endswith(("'s", "s'")) and len(text) > 2:
        yield text.removesuffix("'s") if text.endswith("'s") else text.removesuffix("'")
        yield "'s"
    else:
        yield text
    yield from reversed(tail)


def _written_out(suffix: str, followed_by: str) -> str:
    return "had" if suffix == "'d" and followed_by in _HAD_BEFORE else _SUFFIXES[suffix]
