"""The plans that bench/task.py runs as whole tasks, as steps of a client's plan."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.acceptance.plans import collect, wait

Plan = Mapping[str, Sequence[str]]
"""The names of the steps, with the names of the steps that each one waits for."""

FAN8: Final[Plan] = {f"s{n}": () for n in range(8)}
DIAMOND: Final[Plan] = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
ONE: Final[Plan] = {"a": ()}
DAG50: Final[Plan] = {
    f"l{level}n{n}": tuple(f"l{level - 1}n{(n + k) % 10}" for k in range(2)) if level else ()
    for level in range(5)
    for n in range(10)
}
"""Five layers of ten steps; each step waits for two of the layer before."""
_SHORT: Final = 0.02
_LONG: Final = 0.2
RAGGED_IDEAL_MS: Final = 1000 * (2 * _SHORT + _LONG)

_COLLECTING: Final = {"fan8": FAN8, "diamond": DIAMOND, "one": ONE, "dag50": DAG50}
NAMES: Final = (*_COLLECTING, "ragged")


def steps_of(plan: str, number: int) -> list[dict[str, Any]]:
    """Return the steps of task `number`; its values occur in no other task, so that no cache answers."""
    if plan == "ragged":
        return _ragged()
    graph = _COLLECTING[plan]
    return [collect(name, [number, name], *after) for name, after in graph.items()]


def _ragged() -> list[dict[str, Any]]:
    """Return three chains of three timed steps with one slow step per level, as bench/chords.py has them."""
    return [
        wait(
            f"{line}{level}",
            _LONG if level == straggler else _SHORT,
            *((f"{line}{level - 1}",) if level else ()),
        )
        for straggler, line in enumerate("xyz")
        for level in range(3)
    ]
