"""Owns the word lists of `lexicon.toml`, which are read once."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_LISTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text("utf-8"))


def words(section: str, name: str) -> frozenset[str]:
    """Return a list of words as a set."""
    return frozenset(_LISTS[section][name].split())


def table(section: str, name: str) -> Mapping[str, Any]:
    """Return a table of words."""
    listed: Mapping[str, Any] = _LISTS[section][name]
    return listed


def phrases(section: str, name: str, *, by: int = 0) -> Mapping[str, Sequence[tuple[str, ...]]]:
    """Return {word: phrases as tuples of words, the longest first}, keyed by each phrase's word at index `by`."""
    listed = sorted((tuple(phrase.split()) for phrase in _LISTS[section][name]), key=len, reverse=True)
    return {
        word: [phrase for phrase in listed if phrase[by] == word]
        for word in {phrase[by] for phrase in listed}
    }
