"""Phrases a task as callers do: the words around its slot values vary, the task does not."""

import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench.workload.slot import in_words
from bench.workload.task import Task

_HOW: Final = "how do i "
_ASKED: Final = (_HOW, "how can i ", "how can you ", "how to ", "how do you ", "tell me how to ")
_ORDERED: Final = (
    "please {}",
    "{} please",
    "{}, thanks!",
    "could you please {}?",
    "can you please {}",
    "hi, {}",
    "i would like you to {}",
    "I'd like you to {}.",
    "kindly {}",
    "{}. Thank you in advance!",
)
_QUESTIONED: Final = ("{}?", "{}, please?", "hello, {}", "{} thanks", "hi, {}?")
_QUESTIONS: Final = frozenset(("what", "what's", "which", "how", "why", "is", "at", "when", "who", "tell"))
_WRITTEN_OUT: Final[Mapping[str, str]] = {"what's": "what is", "doesn't": "does not", "do not": "don't"}
_ARTICLE: Final = re.compile(r"(?<=[a-z] )the (?=[a-z])")
_COUNTED: Final = re.compile(r"\{n\}(?! ms)")
_RECASINGS: Final[Sequence[Callable[[str], str]]] = (
    str,
    str,
    str.upper,
    str.title,
    lambda text: text[:1].upper() + text[1:],
)
_RESPACINGS: Final[Sequence[Callable[[str], str]]] = (
    str,
    lambda text: text.replace(" ", "  "),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace("'", "’"),
)
_ENDS: Final = ("", "", ".", "!", " ", "\n")


def plainly(task: Task, template: str) -> str:
    """Return the goal of a task in one of its phrasings, without noise."""
    return template.format(**task.held)


def noisily(task: Task, template: str, chance: random.Random) -> str:
    """Return the goal with noise in case, punctuation, politeness, articles, contractions, numerals and questions."""
    template = _framed(template, chance)
    if chance.random() < 0.5:
        template = _ARTICLE.sub("", template)
    for short, long in _WRITTEN_OUT.items():
        if chance.random() < 0.5:
            template = template.replace(short, long)
    held = dict(task.held)
    if "n" in held and _COUNTED.search(template) and chance.random() < 0.5:
        held["n"] = in_words(int(held["n"]))
    recase, respace = chance.choice(_RECASINGS), chance.choice(_RESPACINGS)
    parts = re.split(r"(\{[a-z]+\})", template)
    template = "".join(part if part.startswith("{") else respace(recase(part)) for part in parts)
    text = template.format(**held) + chance.choice(_ENDS)
    return unicodedata.normalize(chance.choice(("NFC", "NFD")), text)


def _framed(template: str, chance: random.Random) -> str:
    if template.startswith(_HOW):
        template = chance.choice(_ASKED) + template.removeprefix(_HOW)
    is_question = template.split(" ")[0] in _QUESTIONS
    frames: Sequence[str] = ("{}", *(_QUESTIONED if is_question else _ORDERED))
    return chance.choice(frames).replace("{}", template)
