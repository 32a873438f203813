"""Articles dropped, where they are articles and not the letter A or part of a name."""

from collections.abc import Mapping, Sequence

from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import table, words

_ARTICLES = words("article", "articles")
_FUNCTION = words("article", "function")
_CARRIERS = words("article", "carriers")
_KEPT_BEFORE = {name: frozenset(then.split()) for name, then in table("article", "kept_before").items()}
_MONEY = frozenset("$€£¥~")
_ACRONYMS: Mapping[str, str] = table("case", "acronyms")


def without_articles(tokens: Sequence[Token], *, case_speaks: bool) -> list[Token]:
    """Drop articles, and mark capitals that are a name: US is not us."""
    named = [_named(tokens, place, case_speaks=case_speaks) for place in range(len(tokens))]
    return [
        token for place, token in enumerate(named) if not _is_article(named, place, case_speaks=case_speaks)
    ]


def _named(tokens: Sequence[Token], place: int, *, case_speaks: bool) -> Token:
    token = tokens[place]
    name = _ACRONYMS.get(token.text) if token.kind is Kind.WORD else None
    if name is None:
        return token
    is_the_us = token.text == "us" and place > 0 and tokens[place - 1].text == "the"
    return token._replace(text=name) if is_the_us or (case_speaks and token.written == name) else token


def _is_article(tokens: Sequence[Token], place: int, *, case_speaks: bool) -> bool:
    token = tokens[place]
    if token.text not in _ARTICLES or token.kind is not Kind.WORD or place + 1 == len(tokens):
        return False
    following = tokens[place + 1]
    if (following.pause and token.text == "a") or (
        following.kind is Kind.SYMBOL and following.text not in _MONEY
    ):
        return False
    if following.kind is Kind.WORD and (
        following.text in _FUNCTION or following.text in _KEPT_BEFORE.get(token.text, ())
    ):
        return False
    return token.text != "a" or not _is_letter(tokens, place, case_speaks=case_speaks)


def _is_letter(tokens: Sequence[Token], place: int, *, case_speaks: bool) -> bool:
    token = tokens[place]
    if token.pause:
        return False
    if (place > 0 and tokens[place - 1].text in _CARRIERS) or _is_in_formula(tokens[place + 1 : place + 3]):
        return True
    is_title = all("A" <= near.written[:1] <= "Z" for near in (tokens[place - 1], tokens[place + 1]))
    return case_speaks and token.written == "A" and not is_title


def _is_in_formula(then: Sequence[Token]) -> bool:
    """Tell "a x = b" from "a C program"."""
    return (
        len(then[0].text) == 1
        and then[0].kind is Kind.WORD
        and (len(then) == 1 or then[1].kind is Kind.SYMBOL)
    )
