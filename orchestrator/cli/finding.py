"""What an examination finds: good, worth knowing, or trouble with what to do about it."""

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How bad a finding is."""

    GOOD = "good"
    NOTE = "note"
    TROUBLE = "trouble"


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do."""

    state: State
    subject: str
    told: str
    advice: str = ""


def good(subject: str, told: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(State.GOOD, subject, told)


def note(subject: str, told: str, advice: str = "") -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(State.NOTE, subject, told, advice)


def trouble(subject: str, told: str, advice: str) -> Finding:
    """Return a finding that must be dealt with."""
    return Finding(State.TROUBLE, subject, told, advice)
