"""Tasks that callers may want, each with the class of all requests that its result answers: known by construction."""

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
    """How one task becomes another that looks like it."""

    SLOT = "slot"
    NEGATION = "negation"
    DIRECTION = "direction"
    COMPARATOR = "comparator"
    CONSTRAINT = "constraint"


@dataclass(frozen=True)
class Intent:
    """What is asked for, with `{slot}`s: ways to say it, and {change: swaps of words that ask for another thing}."""

    name: str
    phrasings: Sequence[str]
    effects: bool = False
    twists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def slots(self) -> Sequence[str]:
        """Return the slots that every phrasing has."""
        return sorted(slots_in(self.phrasings[0]))

    def ways(self, twist: Change | None) -> Sequence[str]:
        """Return the phrasings, or with a twist those of the task that it makes."""
        if twist is None:
            return self.phrasings
        swaps = [swap.split(" -> ") for swap in self.twists[twist]]
        return [way.replace(old, new) for way in self.phrasings for old, new in swaps if old in way]


@dataclass(frozen=True)
class Task:
    """One thing to be done: an intent, perhaps twisted, what its slots hold and the contract's constraints."""

    intent: Intent
    held: Mapping[str, str]
    constraints: Mapping[str, Any]
    twist: Change | None = None

    @property
    def label(self) -> str:
        """Return the class: the same for two requests if, and only if, one result answers both."""
        held = " ".join(f"{slot}={self.held[slot]}" for slot in self.intent.slots)
        return f"{self.intent.name}/{self.twist or 'plain'} {held} {json.dumps(self.constraints, sort_keys=True)}"

    @property
    def ways(self) -> Sequence[str]:
        """Return the templates that ask for it."""
        return self.intent.ways(self.twist)


def slots_in(template: str) -> set[str]:
    """Return the names of the slots in a template."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def _read_intents() -> Iterator[Intent]:
    listed = tomllib.loads(Path(__file__).with_name("intents.toml").read_text("utf-8"))
    for name, intent in listed.items():
        yield Intent(name, **intent)


INTENTS: Final[Sequence[Intent]] = tuple(_read_intents())


def draw_task(chance: random.Random, *, effects: bool = False) -> Task:
    """Draw a task with outside effects, or one without."""
    intent = chance.choice([intent for intent in INTENTS if intent.effects == effects])
    held = {slot: slots.draw(slot, chance) for slot in intent.slots}
    constrained = chance.random() < _CONSTRAINED
    return Task(intent, held, _draw_constraints(chance) if constrained else {})


def changes_of(task: Task) -> Sequence[Change]:
    """Return how this task may be changed into another."""
    twists = [Change(kind) for kind in task.intent.twists] if task.twist is None else []
    return [Change.SLOT, *twists, Change.CONSTRAINT]


def changed(task: Task, change: Change, chance: random.Random) -> Task:
    """Return another task that looks like this one."""
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
