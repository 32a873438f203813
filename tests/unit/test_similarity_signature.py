"""Signatures of the verbatim tokens of a goal, and its content words."""

import pytest

from orchestrator.similarity import known_difference, signature_of, words_of


@pytest.mark.parametrize(
    "other",
    [
        "In build 7, which are the three largest files?",
        "Of 7 things, show the biggest 3",
        "LIST THE 3 LARGEST FILES OF BUILD 7",
    ],
)
def test_words_do_not_change_the_signature(other: str) -> None:
    assert signature_of(other) == signature_of("List the 3 largest files of build 7")


@pytest.mark.parametrize(
    "other",
    [
        "List the 4 largest files of build 7",
        "List the 3 largest files of build",
        "List the 3 largest 'files' of build 7",
        "List the 3 largest files of build-7a",
        "List the 3% largest files of build 7",
    ],
)
def test_goals_with_different_verbatim_tokens_have_different_signatures(other: str) -> None:
    goal = "List the 3 largest files of build 7"

    assert known_difference(goal, other) is not None
    assert signature_of(other) != signature_of(goal)


def test_content_words_exclude_function_words() -> None:
    assert words_of("Please list the 3 largest files of build 7") == {"list", "largest", "file", "build"}


def test_the_framing_of_the_signature_cannot_be_forged() -> None:
    assert signature_of("Compare 'a' with 'b'") != signature_of("Compare 'aqb' with things")
