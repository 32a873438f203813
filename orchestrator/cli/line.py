"""Writes progress as plain lines, one an event: for pipes, logs and dumb terminals."""

import sys
from datetime import datetime
from typing import Any, Self

from orchestrator.cli.board import FINAL_EVENTS, Board


class Lines:
    """A display that prints a line for each event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, board: Board, event: dict[str, Any]) -> None:
        """Print what happened."""
        line = line_of(board, event)
        if line:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def tick(self, board: Board) -> None:
        """Do nothing between events."""

    def warn(self, message: str) -> None:
        """Print a warning about the connection."""
        sys.stderr.write(f"{message}\n")


def line_of(board: Board, event: dict[str, Any]) -> str:
    """Return one line for an event that `board` has taken in: time, percentage, what happened."""
    told = _told(board, event["type"], event["data"])
    if not told:
        return ""
    at = datetime.fromisoformat(event["timestamp"]).astimezone()
    return f"{at:%H:%M:%S} {board.percentage:3d}%  {told}"


def _told(board: Board, kind: str, fact: dict[str, Any]) -> str:
    if kind.startswith("step."):
        return _told_of_step(board, kind.removeprefix("step."), fact)
    if kind == "task.submitted":
        return f"{board.task_id} accepted"
    if kind == "task.planned":
        return f"planned, steps: {len(board.rows)} (mode {fact.get('mode', 'unknown')})"
    if kind == "task.cache":
        source, layer = fact.get("source_task_id"), fact.get("layer")
        return f"{layer}: the result of {source}" if source else "runs in the place of the task it followed"
    if kind == "judge.verdict":
        return f"judge: {fact.get('decision')}"
    if kind == "task.repair":
        return f"repair, round {board.round}: {', '.join(fact.get('reruns', []))} again"
    if kind in FINAL_EVENTS:
        return FINAL_EVENTS[kind]
    return kind


def _told_of_step(board: Board, happened: str, fact: dict[str, Any]) -> str:
    name = str(fact.get("step", ""))
    row = board.rows.get(name)
    # that a step was put on its queue is worth a cell of the table, not a line
    if row is None or happened == "queued":
        return ""
    if happened == "started":
        happened = f"started (attempt {row.attempt})" if row.attempt > 1 else "started"
    elif row.is_final() and row.seconds is not None:
        happened = f"{row.state} in {row.seconds:.1f} s"
    return f"{name:<24} {row.arm:<16} {happened}" + (f": {row.note}" if row.note else "")
