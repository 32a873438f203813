"""The kinds of work that models do, and how long the answers of each kind may be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from orchestrator.models.model_choice import ModelName

T = TypeVar("T")

EFFORTS = ("low", "medium", "high")


class Work(StrEnum):
    """What a model is asked for: a plan, an answer from documents, a verdict, an explanation, a patch, a comparison."""

    PLAN = "plan"
    ANSWER = "answer"
    JUDGE = "judge"
    EXPLAIN = "explain"
    PATCH = "patch"
    SAME_TASK = "same_task"


@dataclass(frozen=True)
class OutputRoom:
    """Output tokens of one answer, reasoning included.

    `usual` is the limit where neither the model nor a setting gives another one. `least` is the lowest limit with which
    a model is asked when the task's budget is nearly spent: enough for the answer of a model that does not reason.
    """

    usual: int
    least: int


ROOMS: Mapping[Work, OutputRoom] = MappingProxyType(
    {
        Work.PLAN: OutputRoom(16_000, 1_200),
        Work.ANSWER: OutputRoom(8_000, 700),
        Work.JUDGE: OutputRoom(8_000, 800),
        Work.EXPLAIN: OutputRoom(8_000, 1_000),
        Work.PATCH: OutputRoom(16_000, 2_000),
        Work.SAME_TASK: OutputRoom(2_000, 150),
    }
)


CHAIN_SETTINGS: Mapping[str, tuple[Work, ...]] = MappingProxyType(
    {
        "planner_models": (Work.PLAN,),
        "writer_models": (Work.ANSWER,),
        "coder_models": (Work.EXPLAIN, Work.PATCH),
        "judge_models": (Work.JUDGE, Work.SAME_TASK),
    }
)
"""{setting: the kinds of work that its models do instead of those of LLM_CHAIN}."""


@dataclass(frozen=True)
class ModelPreferences:
    """What the operator chose by kind of work: output limits, efforts, and models.

    `default` are the models for a kind of work without models of its own; if it is empty, all models are asked.
    """

    output_tokens: Mapping[Work, int] = field(default_factory=dict)
    efforts: Mapping[Work, str] = field(default_factory=dict)
    chains: Mapping[Work, tuple[ModelName, ...]] = field(default_factory=dict)
    default: tuple[ModelName, ...] = ()


def parse_output_tokens(text: str) -> Mapping[Work, int]:
    """Parse one number for all kinds of work, or kind=number pairs separated by commas. Raises ValueError."""
    return _by_work(text, _tokens, wanted="a number of tokens from 16 to 1000000")


def parse_efforts(text: str) -> Mapping[Work, str]:
    """Parse one of EFFORTS for all kinds of work, or kind=effort pairs separated by commas. Raises ValueError."""
    return _by_work(text.lower(), _effort, wanted=" or ".join(EFFORTS))


def _by_work(text: str, parse: Callable[[str], T | None], *, wanted: str) -> Mapping[Work, T]:
    values: dict[Work, T] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        kind, _, value_text = part.rpartition("=")
        value = parse(value_text.strip())
        kinds = [Work(kind.strip())] if kind.strip() in set(Work) else [] if kind else list(Work)
        if value is None or not kinds:
            raise ValueError(
                f"{wanted}, or kind=value pairs separated by commas, where the kind is one of {', '.join(Work)}"
            )
        values |= dict.fromkeys(kinds, value)
    return MappingProxyType(values)


def _tokens(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{2,7}", text) and 16 <= int(text) <= 1_000_000 else None


def _effort(text: str) -> str | None:
    return text if text in EFFORTS else None
