"""Draws the values of a goal's slots, and near misses of a value."""

import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_VALUES: Final = tomllib.loads(Path(__file__).with_name("values.toml").read_text("utf-8"))
_CLOSED: Final[Mapping[str, Sequence[str]]] = _VALUES["closed"]
_PARTS: Final[Mapping[str, Sequence[str]]] = _VALUES["part"]
_SPOKEN: Final[Mapping[str, Sequence[str]]] = _VALUES["spoken"]
_CASE_COUNTS: Final = frozenset(("path", "name", "quote", "url", "flag"))


class _Dice:
    """Draws the parts of a value."""

    def __init__(self, chance: random.Random) -> None:
        self.number, self._chance = chance.randint, chance

    def part(self, name: str) -> str:
        return self._chance.choice(_PARTS[name])

    def identifier(self) -> str:
        words = [self.part("verb"), self.part("noun"), self.part("noun")]
        return "".join(words) if self.number(0, 1) else "_".join(words).lower()


_OPEN: Final[Mapping[str, Callable[[_Dice], str]]] = {
    "host": lambda d: f"{d.part('role')}-{d.number(1, 40)}.{d.part('site')}.{d.part('domain')}",
    "ip": lambda d: f"10.{d.number(0, 9)}.{d.number(0, 254)}.{d.number(1, 254)}",
    "cidr": lambda d: f"10.{d.number(0, 254)}.{d.number(0, 254)}.0/{d.number(22, 24)}",
    "port": lambda d: d.part("port"),
    "path": lambda d: f"{d.part('folder')}/{d.part('stem')}{d.number(1, 30)}.{d.part('ending')}",
    "number": lambda d: f"#{d.number(10, 2000)}",
    "cve": lambda d: f"CVE-{d.number(2019, 2026)}-{d.number(1000, 49999)}",
    "n": lambda d: str(d.number(2, 99)),
    "percent": lambda d: f"{d.number(2, 98)}%",
    "money": lambda d: f"${d.number(10, 4000)}",
    "span": lambda d: f"{d.number(2, 99)} {d.part('period')}",
    "size": lambda d: f"{d.number(2, 900)} {d.part('unit')}",
    "date": lambda d: f"{d.number(2019, 2026)}-{d.number(1, 12):02}-{d.number(1, 28):02}",
    "time": lambda d: f"{d.number(0, 23)}:{d.number(10, 59)}",
    "quote": lambda d: f'"{d.part("sentence")}, {d.part("person").title()}"',
    "name": _Dice.identifier,
    "url": lambda d: f"https://{d.part('domain')}/{d.part('stem')}/{d.number(1, 200)}",
    "version": lambda d: f"v{d.number(0, 9)}.{d.number(0, 20)}.{d.number(0, 9)}",
    "email": lambda d: f"{d.part('person')}.{d.part('noun').lower()}@{d.part('domain')}",
    "commit": lambda d: f"{d.number(16**8, 16**9 - 1):x}",
    "flag": lambda d: f"--{d.part('verb')}-{d.part('noun').lower()}",
}


def draw(slot: str, chance: random.Random) -> str:
    """Return a random value for `slot`."""
    return chance.choice(_CLOSED[slot]) if slot in _CLOSED else _OPEN[slot](_Dice(chance))


def near_miss(slot: str, held: str, chance: random.Random) -> str:
    """Return a value that differs from `held` in one digit, the case of one letter, or one choice."""
    ways = [_another]
    if any(map(str.isdigit, held)):
        ways += [_other_digit, _other_digit, _swapped_digits]
    if slot in _CASE_COUNTS:
        ways.append(_other_case)
    while (value := chance.choice(ways)(slot, held, chance)) == held:
        pass
    return value


def in_words(number: int) -> str:
    """Return a number from 0 to 99 in words."""
    ones, tens = _SPOKEN["ones"], _SPOKEN["tens"]
    if number < len(ones):
        return ones[number]
    ten, one = divmod(number, 10)
    return f"{tens[ten - 2]}-{ones[one]}" if one else tens[ten - 2]


def _another(slot: str, held: str, chance: random.Random) -> str:
    while (value := draw(slot, chance)) == held:
        pass
    return value


def _other_digit(slot: str, held: str, chance: random.Random) -> str:
    place = chance.choice([place for place, letter in enumerate(held) if letter.isdigit()])
    digit = chance.choice("123456789".replace(held[place], ""))
    return held[:place] + digit + held[place + 1 :]


def _swapped_digits(slot: str, held: str, chance: random.Random) -> str:
    pairs = [
        place for place in range(len(held) - 1) if held[place].isdigit() and held[place + 1] in "123456789"
    ]
    if not pairs:
        return held
    place = chance.choice(pairs)
    return held[:place] + held[place + 1] + held[place] + held[place + 2 :]


def _other_case(slot: str, held: str, chance: random.Random) -> str:
    # the case of a URL's host is not significant
    start = held.index("/", len("https://")) if slot == "url" else 0
    place = chance.choice([place for place in range(start, len(held)) if held[place].isalpha()])
    return held[:place] + held[place].swapcase() + held[place + 1 :]
