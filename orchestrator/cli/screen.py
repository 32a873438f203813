"""Draws progress live on a terminal: a bar, and a table of the steps that is kept up to date."""

from datetime import UTC, datetime
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.board import Board, Row

_LOOKS = {
    "waiting": ("·", "dim"),
    "queued": ("○", "cyan"),
    "running": ("▶", "bold blue"),
    "retrying": ("↻", "yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("–", "dim"),
    "cancelled": ("■", "dim"),
}
_BAR_WIDTH = 30


class Screen:
    """A display that redraws the whole board, eight times a second at most."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, board: Board, event: dict[str, Any]) -> None:
        """Redraw after an event."""
        self.tick(board)

    def tick(self, board: Board) -> None:
        """Redraw: durations go on between events."""
        self._live.update(draw(board, datetime.now(UTC)), refresh=True)

    def warn(self, message: str) -> None:
        """Print a warning above the board."""
        self._console.print(Text(message, style="yellow"))


def draw(board: Board, now: datetime) -> RenderableType:
    """Return the picture of a board at the time `now`."""
    return Group(_header(board), _table(board, now)) if board.rows else _header(board)


def _header(board: Board) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    words = f"round {board.round}: {board.activity}" if board.round > 1 else board.activity
    grid.add_row(
        Text(board.task_id, style="bold"),
        ProgressBar(total=100, completed=board.percentage, width=_BAR_WIDTH),
        Text(f"{board.percentage:3d}%"),
        Text(words),
    )
    return grid


def _table(board: Board, now: datetime) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("", "step", "arm", "state", "try"):
        table.add_column(heading, no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
    for row in board.rows.values():
        table.add_row(*_cells(row, now))
    return table


def _cells(row: Row, now: datetime) -> tuple[Text, ...]:
    mark, style = _LOOKS.get(row.state, ("?", ""))
    seconds = row.runs_for(now)
    return (
        Text(mark, style=style),
        Text(row.name),
        Text(row.arm, style="dim"),
        Text(row.state, style=style),
        Text(str(row.attempt or "")),
        Text("" if seconds is None else f"{seconds:.1f} s"),
        Text(" ".join(row.note.split()), style="dim"),
    )
