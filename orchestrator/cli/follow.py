"""Follows a task by its numbered events, over lost connections, until it ends."""

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.cli.board import Board
from orchestrator.cli.ending import Refused, Unreachable
from orchestrator.cli.server import Server

# together below 100 calls in any minute, the rate limit's default
_FIRST_SECONDS = 8.0
_FIRST_PAUSE = 0.25
_PAUSE = 1.0
_TICK_SECONDS = 0.125
_LONGEST_WAIT = 15.0
GIVE_UP_SECONDS = 300.0


class Display(Protocol):
    """What shows the board to somebody."""

    def __enter__(self) -> "Display": ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, board: Board, event: dict[str, Any]) -> None: ...
    def tick(self, board: Board) -> None: ...
    def warn(self, message: str) -> None: ...


class Silence:
    """A display that shows nothing."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(self, *_: object) -> None: ...
    def show(self, board: Board, event: dict[str, Any]) -> None: ...
    def tick(self, board: Board) -> None: ...
    def warn(self, message: str) -> None: ...


def choose_display(*, watch: bool) -> Display:
    """Return a live table on a terminal, lines elsewhere, nothing when nobody wants to watch."""
    if not watch:
        return Silence()
    if sys.stdout.isatty():
        from orchestrator.cli.screen import Screen  # noqa: PLC0415 - rich, only for a terminal

        return Screen()
    from orchestrator.cli.line import Lines  # noqa: PLC0415

    return Lines()


def follow(
    server: Server, task_id: str, display: Display, *, give_up_seconds: float = GIVE_UP_SECONDS
) -> Board:
    """Show the task's events until it has ended; return the last board.

    A lost connection is taken up again after the last event seen. Raises Unreachable after `give_up_seconds`
    without an answer, Refused when the server says no.
    """
    board = Board(task_id)
    began = time.monotonic()
    with display:
        while True:
            for event in _ask(server, board, display, give_up_seconds=give_up_seconds):
                if board.apply(event):
                    display.show(board, event)
            if board.is_final():
                display.tick(board)
                return board
            pause = _FIRST_PAUSE if time.monotonic() - began < _FIRST_SECONDS else _PAUSE
            _wait(pause, lambda: display.tick(board))


def _ask(server: Server, board: Board, display: Display, *, give_up_seconds: float) -> list[dict[str, Any]]:
    """Return the events after the board's, trying again while the server is away or says it is too much."""
    lost_at: float | None = None
    wait = 0.5
    while True:
        try:
            answer = server.get(f"/v1/tasks/{board.task_id}/events?after={board.seq}")
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.status != 429:
                raise
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > give_up_seconds:
                raise
            if wait == 0.5:
                display.warn(f"{error.message}; trying again ...")
            wait = min(wait * 2, _LONGEST_WAIT)
            _wait(getattr(error, "retry_after", None) or wait, lambda: display.tick(board))
        else:
            events: list[dict[str, Any]] = answer["events"]
            return events


def _wait(seconds: float, tick: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _TICK_SECONDS))
        tick()
