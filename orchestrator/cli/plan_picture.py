"""The steps of a plan or of a task as a picture: boxes and arrows, and their text for Mermaid and Graphviz."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from orchestrator.cli.output import printable

MAX_STEPS_DRAWN: Final = 1_000
# {state: (colour, sign)}; white letters are legible on each colour
LOOKS: Final[Mapping[str, tuple[str, str]]] = {
    "done": ("#2e7d32", "✓"),
    "failed": ("#c62828", "✗"),
    "running": ("#1565c0", "▶"),
    "waiting": ("#b45309", "?"),
    "queued": ("#00696e", "○"),
    "held": ("#546e7a", "○"),
    "blocked": ("#546e7a", "·"),
    "skipped": ("#546e7a", "–"),
    "cancelled": ("#546e7a", "■"),
}
NO_LOOK: Final = ("#546e7a", "?")
_CARRIED_WIDTH: Final = 40
# what can end or change a label in Mermaid: code marks, HTML, shapes, entities, comments
_MERMAID_UNSAFE = re.compile(r'["\\`<>{}\[\]()|#;&%$*_~]')


class Node(NamedTuple):
    """A box: a step, what does it (`arm.action`), its state (None: it was not submitted), and notes in words."""

    name: str
    does: str
    state: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def sign(self) -> str:
        """Return the sign of the step's state; empty without a state."""
        return LOOKS.get(self.state, NO_LOOK)[1] if self.state else ""

    def lines(self) -> tuple[str, ...]:
        """Return what the box says, on two or three lines, as it was sent: escape it."""
        last = ", ".join([*filter(None, [self.state]), *self.notes])
        return tuple(filter(None, [f"{self.sign} {self.name}".strip(), self.does, last]))


class Edge(NamedTuple):
    """An arrow between two steps, by name.

    `carries` names the parts of the source's output that the target reads; () if only their order counts, None if it is
    not known.
    """

    source: str
    target: str
    carries: tuple[str, ...] | None

    @property
    def label(self) -> str:
        """Return what the arrow carries, shortened."""
        text = ", ".join(filter(None, self.carries or ()))
        return text if len(text) <= _CARRIED_WIDTH else f"{text[: _CARRIED_WIDTH - 1]}…"

    @property
    def is_order_only(self) -> bool:
        """Tell whether no value flows along the arrow."""
        return self.carries == ()


@dataclass(frozen=True)
class Picture:
    """Boxes with different names, and arrows between different ones of them, each pair once."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]


def mermaid(picture: Picture) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart; ids of steps become numbers, because some words are reserved."""
    numbers = _numbers(picture)
    yield "flowchart LR"
    for node in picture.nodes:
        yield f'    {numbers[node.name]}["{"<br/>".join(map(_in_mermaid, node.lines()))}"]'
    for edge in picture.edges:
        arrow = "-.->" if edge.is_order_only else "-->"
        label = f'|"{_in_mermaid(edge.label)}"|' if edge.label else ""
        yield f"    {numbers[edge.source]} {arrow}{label} {numbers[edge.target]}"
    for node in picture.nodes:
        if node.state:
            yield f"    style {numbers[node.name]} fill:{_colour(node.state)},color:#fff"


def dot(picture: Picture) -> Iterator[str]:
    """Yield the lines of a graph in Graphviz' DOT language."""
    numbers = _numbers(picture)
    yield "digraph plan {"
    yield "    rankdir=LR;"
    yield "    node [shape=box, style=rounded];"
    for node in picture.nodes:
        label = "\\n".join(map(_in_dot, node.lines()))
        look = (
            f', style="rounded,filled", fillcolor="{_colour(node.state)}", fontcolor=white'
            if node.state
            else ""
        )
        yield f'    {numbers[node.name]} [label="{label}"{look}];'
    for edge in picture.edges:
        look = " [style=dashed]" if edge.is_order_only else ""
        if edge.label:
            look = f' [label="{_in_dot(edge.label)}"]'
        yield f"    {numbers[edge.source]} -> {numbers[edge.target]}{look};"
    yield "}"


def _numbers(picture: Picture) -> dict[str, str]:
    return {node.name: f"s{number}" for number, node in enumerate(picture.nodes, start=1)}


def _colour(state: str) -> str:
    return LOOKS.get(state, NO_LOOK)[0]


def _in_mermaid(text: str) -> str:
    """Return a text for a quoted label of Mermaid, which reads #NUMBER; as a character."""
    return _MERMAID_UNSAFE.sub(lambda found: f"#{ord(found[0])};", printable(text))


def _in_dot(text: str) -> str:
    """Return a text for a quoted label of DOT, which reads backslashes and HTML entities."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
