"""Owns the canonical key of a goal, which is equal for goals that differ only in form, and what goals share."""

import re
from collections.abc import Sequence
from hashlib import blake2b

from orchestrator.similarity.lexical import expand_contractions, remove_articles, singular
from orchestrator.similarity.lexicon import words
from orchestrator.similarity.numerals import write_digits
from orchestrator.similarity.speech_acts import remove_politeness, unify_questions
from orchestrator.similarity.tokenizer import Tokenizer
from orchestrator.similarity.tokens import Kind, Token

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
_MIN_CONTENT = 2
_FUNCTION = words("article", "function")


def canonical_key(goal: str) -> str:
    """Return `k1:` and 32 hexadecimal digits: equal for goals that ask for the same in the same content words.

    Ignores case, Unicode form, punctuation, articles, politeness, contractions, number words, plurals and the variants
    of "how do I". Keeps the word order, and keeps quotes, code, URLs, paths, e-mails, flags and identifiers verbatim.
    A goal with fewer than two content tokens is its own key. Lexical rules apply to English only, and not to goals
    about words. Never raises, takes linear time, and gives the same key on every supported Python.
    """
    tokens = canonical_tokens(goal)
    if has_content(tokens):
        parts = [part for token in tokens for part in (token.kind, token.text)]
    else:
        parts = ["exact", goal.strip()]
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return f"{_VERSION}:{blake2b(framed.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def canonical_tokens(goal: str) -> Sequence[Token]:
    """Return the normalized tokens that the key is a digest of."""
    tokenized = Tokenizer(goal)
    if not _is_english(tokenized.tokens):
        return tokenized.tokens
    if _is_about_words(tokenized.tokens):
        return unify_questions(remove_politeness(tokenized.tokens))
    unified = unify_questions(remove_politeness(expand_contractions(tokenized.tokens)))
    bare = remove_articles(unified, case_is_significant=tokenized.case_is_significant)
    return [
        token._replace(text=singular(token.text)) if token.kind is Kind.WORD else token
        for token in write_digits(bare, case_is_significant=tokenized.case_is_significant)
    ]


def _is_about_words(tokens: Sequence[Token]) -> bool:
    return any(
        token.text in _MARKERS or (before.text == "in" and token.text in _WRITTEN_IN)
        for before, token in zip((_START, *tokens), tokens, strict=False)
    )


def has_content(tokens: Sequence[Token]) -> bool:
    """Return whether at least two content tokens are left."""
    return sum(map(_content, tokens)) >= _MIN_CONTENT


def _is_english(tokens: Sequence[Token]) -> bool:
    words_in_prose = [token.text for token in tokens if token.kind is Kind.WORD]
    english = sum(word in _ENGLISH for word in words_in_prose)
    foreign = sum(word in _FOREIGN for word in words_in_prose)
    if not english and any(map(_FOREIGN_LETTER.search, words_in_prose)):
        return False
    return foreign <= english


def _content(token: Token) -> int:
    if token.kind is Kind.SYMBOL:
        return 0
    return max(1, len(_UNSPACED_LETTER.findall(token.text)))


def signature_of(goal: str) -> str:
    """Return a digest of the goal's numbers, quotes, code, identifiers and symbols in any order.

    Goals with different signatures are different tasks: `known_difference` requires all of these to be equal.
    """
    verbatim = sorted(
        f"{token.kind}{token.text}" for token in canonical_tokens(goal) if token.kind != Kind.WORD
    )
    framed = "".join(f"{len(part)}:{part}" for part in verbatim)
    return blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def words_of(goal: str) -> frozenset[str]:
    """Return the goal's content words: words that are no function words."""
    return frozenset(
        token.text
        for token in canonical_tokens(goal)
        if token.kind is Kind.WORD and token.text not in _FUNCTION
    )
