"""The canonical key of a goal: equal for goals that differ only in how they are put."""

import re
from collections.abc import Sequence
from hashlib import blake2b

from orchestrator.similarity.article import without_articles
from orchestrator.similarity.asking import asked_alike
from orchestrator.similarity.contraction import expanded
from orchestrator.similarity.courtesy import without_courtesy
from orchestrator.similarity.number import with_digits
from orchestrator.similarity.plural import singular
from orchestrator.similarity.reading import Reading
from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import words

_VERSION = "k1"
_ENGLISH = words("language", "english")
_FOREIGN = words("language", "foreign") - _ENGLISH
_MARKERS = words("about_words", "markers")
_WRITTEN_IN = words("about_words", "written_in")
_START = Token(Kind.SYMBOL, "", "")
_UNSPACED = (
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ffff]"
)
_FOREIGN_LETTER = re.compile(
    "[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff\u2c60-\ud7ff\uf900-\ufdff\ufe70-\ufefe\U00010000-\U0001d3ff\U0001e000-\U0001eeff\U00020000-\U0003ffff]"
)
_UNSPACED_LETTER = re.compile(_UNSPACED)
_LEAST_CONTENT = 2


def canonical_key(goal: str) -> str:
    """Return `k1:` and 32 hexadecimal digits, equal for goals that ask for the same in the same words.

    Folds case, Unicode form, punctuation, articles, courtesy, contractions, number words, plurals and the ways of
    asking "how do I". Keeps word order, and to the letter quotes, code, URLs, paths, e-mails, flags and identifiers.
    A goal with fewer than two tokens of content is its own key. Only English words are folded beyond their form, and
    not where the goal is about words. Never raises, takes linear time, gives the same key on every supported Python.
    """
    tokens = canonical_tokens(goal)
    if has_content(tokens):
        parts = [part for token in tokens for part in (token.kind, token.text)]
    else:
        parts = ["exact", goal.strip()]
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return f"{_VERSION}:{blake2b(framed.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def canonical_tokens(goal: str) -> Sequence[Token]:
    """Return what the key is made of."""
    reading = Reading(goal)
    if not _is_english(reading.tokens):
        return reading.tokens
    if _is_about_words(reading.tokens):
        return asked_alike(without_courtesy(reading.tokens))
    asked = asked_alike(without_courtesy(expanded(reading.tokens)))
    bare = without_articles(asked, case_speaks=reading.case_speaks)
    return [
        token._replace(text=singular(token.text)) if token.kind is Kind.WORD else token
        for token in with_digits(bare, case_speaks=reading.case_speaks)
    ]


def _is_about_words(tokens: Sequence[Token]) -> bool:
    return any(
        token.text in _MARKERS or (before.text == "in" and token.text in _WRITTEN_IN)
        for before, token in zip((_START, *tokens), tokens, strict=False)
    )


def has_content(tokens: Sequence[Token]) -> bool:
    """Tell whether enough is left to know the goal by."""
    return sum(map(_content, tokens)) >= _LEAST_CONTENT


def _is_english(tokens: Sequence[Token]) -> bool:
    spoken = [token.text for token in tokens if token.kind is Kind.WORD]
    english = sum(word in _ENGLISH for word in spoken)
    foreign = sum(word in _FOREIGN for word in spoken)
    if not english and any(map(_FOREIGN_LETTER.search, spoken)):
        return False
    return foreign <= english


def _content(token: Token) -> int:
    if token.kind is Kind.SYMBOL:
        return 0
    return max(1, len(_UNSPACED_LETTER.findall(token.text)))
