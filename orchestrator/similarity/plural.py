"""Plurals folded to their singular, unless the two mean different things."""

import re
from collections.abc import Mapping

from orchestrator.similarity.words import table, words

_WHOLE: Mapping[str, str] = table("plural", "whole")
_NEVER = words("plural", "never")
_ICS = words("plural", "ics")
_IE = words("plural", "ie")
_US_PLURALS = words("plural", "us_plurals")
_PLURAL = re.compile(r"[a-z]{3,}s")
_SIBILANT = re.compile(r"(.*(?:ss|x|sh|zz|(?:[rnt]|oa|ea|ee|ou)ch|[^hstnfw]o))es")
_NOT_PLURAL = re.compile(r".*(?:ss|is|us|ics)")


def singular(word: str) -> str:
    """Return the singular of an English plural in small letters, and any other word as it is.

    No stemming: tense, person and derivation stay.
    """
    if word in _WHOLE:
        return _WHOLE[word]
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
