"""Lexical normalization: expands contractions, removes articles, makes plurals singular."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from orchestrator.similarity.lexicon import table, words
from orchestrator.similarity.tokens import Kind, Token

_CONTRACTIONS: Mapping[str, str] = table("contraction", "whole")
_BARE: Mapping[str, str] = table("contraction", "bare")
_SUFFIXES: Mapping[str, str] = table("contraction", "suffixes")
_IS_AFTER = words("contraction", "is_after")
_HAD_BEFORE = words("contraction", "had_before")
_HAS_BEFORE = words("contraction", "has_before")
_ARTICLES = words("article", "articles")
_FUNCTION = words("article", "function")
_CARRIERS = words("article", "carriers")
_KEPT_BEFORE = {name: frozenset(then.split()) for name, then in table("article", "kept_before").items()}
_MONEY = frozenset("$€£¥~")
_ACRONYMS: Mapping[str, str] = table("case", "acronyms")
_IRREGULAR_PLURALS: Mapping[str, str] = table("plural", "whole")
_NEVER = words("plural", "never")
_ICS = words("plural", "ics")
_IE = words("plural", "ie")
_US_PLURALS = words("plural", "us_plurals")
_PLURAL = re.compile(r"[a-z]{3,}s")
_SIBILANT = re.compile(r"(.*(?:ss|x|sh|zz|(?:[rnt]|oa|ea|ee|ou)ch|[^hstnfw]o))es")
_NOT_PLURAL = re.compile(r".*(?:ss|is|us|ics)")


def expand_contractions(tokens: Sequence[Token]) -> list[Token]:
    """Expand every contraction: "what's" to "what is", "users'" to "users" and "'s"."""
    following = [*(token.text for token in tokens), ""][1:]
    return [
        part
        for token, then in zip(tokens, following, strict=True)
        for part in _expand(token, followed_by=then)
    ]


def _expand(token: Token, *, followed_by: str) -> Iterable[Token]:
    if token.kind is not Kind.WORD:
        return (token,)
    whole = _CONTRACTIONS.get(token.text) or _BARE.get(token.text)
    if whole is None and "'" not in token.text:
        return (token,)
    parts = whole.split() if whole else list(_parts(token.text, followed_by))
    return (
        token._replace(
            text=part,
            after_break=token.after_break and index == 0,
            surface=token.surface if index == 0 else part,
        )
        for index, part in enumerate(parts)
    )


def _parts(text: str, followed_by: str) -> Iterator[str]:
    tail: list[str] = []
    while suffix := next((end for end in _SUFFIXES if text.endswith(end) and text != end), None):
        tail.append(_expand_suffix(suffix, followed_by))
        text = text.removesuffix(suffix)
    if text in _CONTRACTIONS:
        yield from _CONTRACTIONS[text].split()
    elif text.endswith("'s") and text.removesuffix("'s") in _IS_AFTER:
        yield text.removesuffix("'s")
        yield "has" if followed_by in _HAS_BEFORE else "is"
    elif text.endswith(("'s", "s'")) and len(text) > 2:
        yield text.removesuffix("'s") if text.endswith("'s") else text.removesuffix("'")
        yield "'s"
    else:
        yield text
    yield from reversed(tail)


def _expand_suffix(suffix: str, followed_by: str) -> str:
    return "had" if suffix == "'d" and followed_by in _HAD_BEFORE else _SUFFIXES[suffix]


def remove_articles(tokens: Sequence[Token], *, case_is_significant: bool) -> list[Token]:
    """Remove articles, but not the letter A or a part of a name; keep acronyms in capitals: US is not us."""
    named = [
        _mark_acronym(tokens, index, case_is_significant=case_is_significant) for index in range(len(tokens))
    ]
    return [
        token
        for index, token in enumerate(named)
        if not _is_article(named, index, case_is_significant=case_is_significant)
    ]


def _mark_acronym(tokens: Sequence[Token], index: int, *, case_is_significant: bool) -> Token:
    token = tokens[index]
    name = _ACRONYMS.get(token.text) if token.kind is Kind.WORD else None
    if name is None:
        return token
    is_the_us = token.text == "us" and index > 0 and tokens[index - 1].text == "the"
    return (
        token._replace(text=name) if is_the_us or (case_is_significant and token.surface == name) else token
    )


def _is_article(tokens: Sequence[Token], index: int, *, case_is_significant: bool) -> bool:
    token = tokens[index]
    if token.text not in _ARTICLES or token.kind is not Kind.WORD or index + 1 == len(tokens):
        return False
    following = tokens[index + 1]
    if (following.after_break and token.text == "a") or (
        following.kind is Kind.SYMBOL and following.text not in _MONEY
    ):
        return False
    if following.kind is Kind.WORD and (
        following.text in _FUNCTION or following.text in _KEPT_BEFORE.get(token.text, ())
    ):
        return False
    return token.text != "a" or not _is_letter(tokens, index, case_is_significant=case_is_significant)


def _is_letter(tokens: Sequence[Token], index: int, *, case_is_significant: bool) -> bool:
    token = tokens[index]
    if token.after_break:
        return False
    if (index > 0 and tokens[index - 1].text in _CARRIERS) or _is_in_formula(tokens[index + 1 : index + 3]):
        return True
    is_title = all("A" <= near.surface[:1] <= "Z" for near in (tokens[index - 1], tokens[index + 1]))
    return case_is_significant and token.surface == "A" and not is_title


def _is_in_formula(then: Sequence[Token]) -> bool:
    """Return whether a single letter belongs to a formula, as in "a x = b" but not in "a C program"."""
    return (
        len(then[0].text) == 1
        and then[0].kind is Kind.WORD
        and (len(then) == 1 or then[1].kind is Kind.SYMBOL)
    )


def singular(word: str) -> str:
    """Return the singular of an English plural in lower case, and any other word unchanged.

    This is no stemming: tense, person and derivation are kept.
    """
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word]
    if word in _US_PLURALS or word in _ICS:
        return word[:-1]
    if word in _NEVER or not _PLURAL.fullmatch(word):
        return word
    if word.endswith("ies"):
        return word[:-1] if word[:-1] in _IE else word[:-3] + "y"
    if found := _SIBILANT.fullmatch(word):
        return found[1]
    if word.endswith("ses") and word[:-2] in _NEVER:
        return word[:-2]
    return word if _NOT_PLURAL.fullmatch(word) else word[:-1]
