"""Tasks of the workload, each labelled by construction with the class of requests that its result serves."""

import json
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from string import Formatter
from typing import Any, Final

from bench.workload import slot as slots

_CONSTRAINED: Final = 0.25


class Change(StrEnum):
    """A change that turns a task into a similar but different one."""

    SLOT = "slot"
    NEGATION = "negation"
    DIRECTION = "direction"
    COMPARATOR = "comparator"
    CONSTRAINT = "constraint"


@dataclass(frozen=True)
class Intent:
    """A kind of task: `phrasings` with `{slot}`s, and `twists`, {change: swaps of words that make another task}."""

    name: str
    phrasings: Sequence[str]
    effects: bool = False
    twists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def slots(self) -> Sequence[str]:
        """Return the slot names, which every phrasing has."""
        return sorted(slots_in(self.phrasings[0]))

    def ways(self, twist: Change | None) -> Sequence[str]:
        """Return the phrasings of the intent, or of the task that the twist makes."""
        if twist is None:
            return self.phrasings
        swaps = [swap.split(" -> ") for swap in self.twists[twist]]
        return [way.replace(old, new) for way in self.phrasings for old, new in swaps if old in way]


@dataclass(frozen=True)
class Task:
    """One task: an intent with an optional twist, its slot values (`held`) and the contract's constraints."""

    intent: Intent
    held: Mapping[str, str]
    constraints: Mapping[str, Any]
    twist: Change | None = None

    @property
    def label(self) -> str:
        """Return the class: equal for two requests if and only if one result serves both."""
        held = " ".join(f"{slot}={self.held[slot]}" for slot in self.intent.slots)
        return f"{self.intent.name}/{self.twist or 'plain'} {held} {json.dumps(self.constraints, sort_keys=True)}"

    @property
    def ways(self) -> Sequence[str]:
        """Return the task's phrasings."""
        return self.intent.ways(self.twist)


def slots_in(template: str) -> set[str]:
    """Return the slot names of a phrasing."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def _read_intents() -> Iterator[Intent]:
    listed = tomllib.loads(Path(__file__).with_name("intents.toml").read_text("utf-8"))
    for name, intent in listed.items():
        yield Intent(name, **intent)


INTENTS: Final[Sequence[Intent]] = tuple(_read_intents())


def draw_task(chance: random.Random, *, effects: bool = False) -> Task:
    """Return a random task, with or without side effects."""
    intent = chance.choice([intent for intent in INTENTS if intent.effects == effects])
    held = {slot: slots.draw(slot, chance) for slot in intent.slots}
    constrained = chance.random() < _CONSTRAINED
    return Task(intent, held, _draw_constraints(chance) if constrained else {})


def changes_of(task: Task) -> Sequence[Change]:
    """Return the changes that apply to the task."""
    twists = [Change(kind) for kind in task.intent.twists] if task.twist is None else []
    return [Change.SLOT, *twists, Change.CONSTRAINT]


def changed(task: Task, change: Change, chance: random.Random) -> Task:
    """Return a similar task that differs by `change`."""
    if change is Change.SLOT:
        slot = chance.choice(task.intent.slots)
        return replace(task, held={**task.held, slot: slots.near_miss(slot, task.held[slot], chance)})
    if change is Change.CONSTRAINT:
        while (constraints := _draw_constraints(chance)) == task.constraints:
            pass
        return replace(task, constraints=constraints)
    return replace(task, twist=change)


def _draw_constraints(chance: random.Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "language": chance.choice(("en", "de", "fr")),
        "max_rows": chance.choice((10, 20, 100)),
        "read_only": chance.random() < 0.5,
        "sources": chance.choice((["wiki"], ["wiki", "tickets"], ["tickets"])),
    }
    return {name: drawn[name] for name in sorted(chance.sample(sorted(drawn), chance.randint(1, 3)))}
