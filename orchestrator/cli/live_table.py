"""Draws a task's progress on a terminal: a bar and a table of the steps, updated in place."""

from datetime import UTC, datetime
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.progress import StepProgress, TaskProgress

_LOOKS = {
    "waiting": ("·", "dim"),
    "queued": ("○", "cyan"),
    "asking": ("?", "bold yellow"),
    "running": ("▶", "bold blue"),
    "retrying": ("↻", "yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("–", "dim"),
    "cancelled": ("■", "dim"),
}
_BAR_WIDTH = 30


class LiveTable:
    """A display that redraws the bar and the table at most eight times a second."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, progress: TaskProgress, event: dict[str, Any]) -> None:
        """Redraw after an event."""
        self.tick(progress)

    def tick(self, progress: TaskProgress) -> None:
        """Redraw between events: durations grow."""
        self._live.update(draw(progress, datetime.now(UTC)), refresh=True)

    def warn(self, message: str) -> None:
        """Print a warning above the bar."""
        self._console.print(Text(message, style="yellow"))


def draw(progress: TaskProgress, now: datetime) -> RenderableType:
    """Return the bar and the table as they are at the time `now`."""
    return Group(_header(progress), _table(progress, now)) if progress.steps else _header(progress)


def _header(progress: TaskProgress) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    activity = f"round {progress.round}: {progress.activity}" if progress.round > 1 else progress.activity
    grid.add_row(
        Text(progress.task_id, style="bold"),
        ProgressBar(total=100, completed=progress.percentage, width=_BAR_WIDTH),
        Text(f"{progress.percentage:3d}%"),
        Text(activity),
    )
    return grid


def _table(progress: TaskProgress, now: datetime) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("", "step", "arm", "state", "try"):
        table.add_column(heading, no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True, ratio=1)
    for step in progress.steps.values():
        table.add_row(*_cells(step, now))
    return table


def _cells(step: StepProgress, now: datetime) -> tuple[Text, ...]:
    mark, style = _LOOKS.get(step.state, ("?", ""))
    seconds = step.seconds_at(now)
    return (
        Text(mark, style=style),
        Text(step.name),
        Text(step.arm, style="dim"),
        Text(step.state, style=style),
        Text(str(step.attempt or "")),
        Text("" if seconds is None else f"{seconds:.1f} s"),
        Text(" ".join(step.note.split()), style="dim"),
    )
