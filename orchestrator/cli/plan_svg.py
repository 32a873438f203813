"""Draws a picture of steps as SVG: columns by depth, the order in a column chosen so that few arrows cross.

The way is that of Sugiyama, Tagawa and Toda (1981): layers by the longest path, points where a long arrow passes a
column, then the mean of the neighbours' places, sweep by sweep.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final
from unicodedata import east_asian_width
from xml.sax.saxutils import escape, quoteattr

from orchestrator.cli.output import printable
from orchestrator.cli.plan_picture import LOOKS, Edge, Node, Picture

_BOX_HEIGHT: Final = 58
_LETTER: Final = 7.2
_LETTERS: Final = range(12, 31)
_GAP: Final = (74, 18)
_BEND_GAP: Final = 12
_MARGIN: Final = 16
_SWEEPS: Final = 8
_MAX_BENDS: Final = 5_000
_STYLE: Final = """
svg { --page: #fff; --text: #1b1f24; --dim: #57606a; --box: #f6f8fa; --line: #6e7781; }
svg { background: var(--page); color-scheme: light dark;
  font: 12.5px system-ui, -apple-system, "Segoe UI", sans-serif; }
rect { fill: var(--box); stroke: var(--look, var(--line)); stroke-width: 1.5; }
text { fill: var(--text); } .name { font-weight: 600; } .does { fill: var(--dim); }
.told { fill: var(--look, var(--dim)); }
path { fill: none; stroke: var(--line); stroke-width: 1.3; } path.order { stroke-dasharray: 4 4; }
marker path { fill: var(--line); stroke: none; }
.done { --look: #1a7f37; } .failed { --look: #b3261e; } .running { --look: #0b57d0; } .waiting { --look: #8a4b00; }
.queued { --look: #00696e; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --text: #e6edf3; --dim: #9da7b3; --box: #161b22; --line: #8b949e; }
  .done { --look: #56d364; } .failed { --look: #ff8a80; } .running { --look: #79c0ff; } .waiting { --look: #f0b35a; }
  .queued { --look: #5ccfd6; }
}"""


@dataclass
class _Layout:
    """Columns of points; a point is a step's name, or (an arrow's number, column) where a long arrow passes."""

    columns: list[list[object]] = field(default_factory=list)
    chains: list[list[object]] = field(default_factory=list)
    heights: dict[object, float] = field(default_factory=dict)


def svg(picture: Picture) -> Iterator[str]:
    """Yield the lines of an SVG image in ASCII, for light and dark pages, with a text alternative.

    Takes time linear in the picture's steps and arrows, times the columns that long arrows pass.
    """
    placed = _placed(picture)
    width = _box_width(picture.nodes)
    step = width + _GAP[0]
    columns = {name: number for number, column in enumerate(placed.columns) for name in column}
    bottom = max(height + _size(name) / 2 for name, height in placed.heights.items())
    size = (2 * _MARGIN + len(placed.columns) * step - _GAP[0], round(bottom + _MARGIN))
    for line in _head(picture, size):
        yield _ascii(line)
    for edge, chain in zip(picture.edges, placed.chains, strict=True):
        points = [(_MARGIN + columns[name] * step, placed.heights[name]) for name in chain]
        yield _ascii(_arrow(edge, points, width))
    for node in picture.nodes:
        corner = (_MARGIN + columns[node.name] * step, placed.heights[node.name] - _BOX_HEIGHT / 2)
        yield _ascii("".join(_box(node, corner, width)))
    yield "</svg>"


def _head(picture: Picture, size: tuple[int, int]) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" role="img" aria-labelledby="title desc">'
    )
    counts = Counter(node.state for node in picture.nodes if node.state)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    number = f"{len(picture.nodes)} step{'' if len(picture.nodes) == 1 else 's'}"
    yield f'<title id="title">{_text(f"{number}: {told}" if told else number)}</title>'
    sources = defaultdict[str, list[str]](list)
    for edge in picture.edges:
        sources[edge.target].append(edge.source)
    told = " ".join(_sentence(node, sources[node.name]) for node in picture.nodes)
    yield f'<desc id="desc">{_text(told)}</desc>'
    yield f"<style>{_STYLE}\n</style>"
    yield (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    )


def _sentence(node: Node, sources: Sequence[str]) -> str:
    known = ", ".join(filter(None, [node.does, node.state, *node.notes]))
    after = f" after {', '.join(sources)}" if sources else ""
    return f"{node.name}{f' ({known})' if known else ''}{after}."


def _arrow(edge: Edge, points: Sequence[tuple[float, float]], width: int) -> str:
    """Return an arrow from the right side of a box to the left side of another one, smooth through its points."""
    path = f"M{points[0][0] + width:g} {points[0][1]:g}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (x + width + to_x) / 2
        through = "" if (to_x, to_y) == points[-1] else f"H{to_x + width:g}"
        path += f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}{through}"
    told = "order only" if edge.is_order_only else ", ".join(filter(None, edge.carries or ())) or "output"
    kind = ' class="order"' if edge.is_order_only else ""
    title = (
        "" if edge.carries is None else f"<title>{_text(f'{edge.source} to {edge.target}: {told}')}</title>"
    )
    return f'<path{kind} d="{path}" marker-end="url(#tip)">{title}</path>'


def _box(node: Node, corner: tuple[float, float], width: int) -> Iterator[str]:
    look = node.state if node.state in LOOKS else "step"
    yield f"<g class={quoteattr(str(look))}><title>{_text(' · '.join([node.name, *node.lines()[1:]]))}</title>"
    yield f'<rect x="{corner[0]:g}" y="{corner[1]:g}" width="{width}" height="{_BOX_HEIGHT}" rx="6"/>'
    lines = node.lines()
    top = corner[1] + (_BOX_HEIGHT - 16 * len(lines)) / 2 + 12
    kinds = ["name", "does" if node.does else "told", "told"]
    for number, (kind, line) in enumerate(zip(kinds, lines, strict=False)):
        fitting = _fitting(printable(line), (width - 20) / _LETTER)
        yield f'<text x="{corner[0] + 10:g}" y="{top + 16 * number:g}" class="{kind}">{_text(fitting)}</text>'
    yield "</g>"


def _placed(picture: Picture) -> _Layout:
    depths = _depths(picture)
    layout = _Layout([[] for _ in range(max(depths.values()) + 1)])
    for node in picture.nodes:
        layout.columns[depths[node.name]].append(node.name)
    bends = sum(max(depths[edge.target] - depths[edge.source] - 1, 0) for edge in picture.edges)
    for number, edge in enumerate(picture.edges):
        passed = range(depths[edge.source] + 1, depths[edge.target]) if bends <= _MAX_BENDS else ()
        chain: list[object] = [edge.source, *((number, column) for column in passed), edge.target]
        layout.chains.append(chain)
        for column in passed:
            layout.columns[column].append((number, column))
    neighbours = _neighbours(layout.chains)
    _order(layout.columns, neighbours)
    layout.heights = _heights(layout.columns, neighbours)
    return layout


def _depths(picture: Picture) -> dict[str, int]:
    """Return for each step the length of the longest path to it; arrows that close a circle do not count."""
    after = defaultdict[str, list[str]](list)
    for edge in picture.edges:
        after[edge.source].append(edge.target)
    depths = {node.name: 0 for node in picture.nodes}
    for name in _sources_first([node.name for node in picture.nodes], after):
        placed = depths[name]
        for target in after[name]:
            depths[target] = max(depths[target], placed + 1)
    return depths


def _sources_first(names: Iterable[str], after: dict[str, list[str]]) -> list[str]:
    """Return the names so that each comes before those after it, and take arrows out of `after` that close a circle."""
    seen, open_names, finished = set[str](), set[str](), list[str]()
    for root in names:
        waiting = [(root, iter(list(after[root])))] if root not in seen else []
        seen.add(root)
        open_names.add(root)
        while waiting:
            name, targets = waiting[-1]
            target = next(targets, None)
            if target is None:
                waiting.pop()
                open_names.discard(name)
                finished.append(name)
            elif target in open_names:
                after[name].remove(target)
            elif target not in seen:
                seen.add(target)
                open_names.add(target)
                waiting.append((target, iter(list(after[target]))))
    return finished[::-1]


def _neighbours(chains: Iterable[Sequence[object]]) -> dict[object, list[object]]:
    found = defaultdict[object, list[object]](list)
    for chain in chains:
        for left, right in pairwise(chain):
            found[left].append(right)
            found[right].append(left)
    return found


def _order(columns: list[list[object]], neighbours: Mapping[object, Sequence[object]]) -> None:
    """Sort each column by the mean place of what its points are joined to, from left to right and back."""
    places = {name: place for column in columns for place, name in enumerate(column)}
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            column.sort(key=lambda name: _mean([places[one] for one in neighbours[name]], places[name]))
            places.update({name: place for place, name in enumerate(column)})


def _heights(
    columns: Sequence[Sequence[object]], neighbours: Mapping[object, Sequence[object]]
) -> dict[object, float]:
    """Return the middle of each point, near that of its neighbours and with room between."""
    heights: dict[object, float] = {}
    for column in columns:
        heights.update(_stacked(column, [0.0] * len(column)))
    for sweep in range(_SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            wanted = [_mean([heights[one] for one in neighbours[name]], heights[name]) for name in column]
            heights.update(_stacked(column, wanted))
    top = min(height - _size(name) / 2 for name, height in heights.items())
    return {name: round(height - top + _MARGIN, 1) for name, height in heights.items()}


def _stacked(column: Sequence[object], wanted: Sequence[float]) -> dict[object, float]:
    """Return heights in the order of the column, without overlap, with the mean that was wanted."""
    found: list[float] = []
    for place, (name, height) in enumerate(zip(column, wanted, strict=True)):
        room = (_size(column[place - 1]) + _size(name)) / 2 + (
            _GAP[1] if isinstance(name, str) else _BEND_GAP
        )
        found.append(max(height, found[-1] + room) if found else height)
    shift = sum(was - now for was, now in zip(wanted, found, strict=True)) / max(len(found), 1)
    return {name: height + shift for name, height in zip(column, found, strict=True)}


def _size(name: object) -> float:
    return _BOX_HEIGHT if isinstance(name, str) else 0


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _box_width(nodes: Sequence[Node]) -> int:
    longest = max(_letters(printable(line)) for node in nodes for line in node.lines())
    return round(min(max(longest, _LETTERS[0]), _LETTERS[-1]) * _LETTER) + 20


def _letters(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _fitting(text: str, letters: float) -> str:
    """Return a text that is shortened to a width in letters; a wide letter counts twice."""
    if _letters(text) <= letters:
        return text
    text = text[: int(letters)]
    while _letters(text) > letters - 1:
        text = text[:-1]
    return f"{text}…"


def _text(text: str) -> str:
    return escape(printable(text))


def _ascii(line: str) -> str:
    """Return a line in ASCII, so that it means the same in any encoding of stdout."""
    return line.encode("ascii", "xmlcharrefreplace").decode()
