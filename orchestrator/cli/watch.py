"""Follows a task's numbered events until it ends, and shows its progress as lines or as a live table."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, Self

from orchestrator.cli.client import ApiClient
from orchestrator.cli.exit_status import RequestRefused, ServerUnreachable
from orchestrator.cli.progress import FINAL_EVENTS, TaskProgress, step_shown

# both intervals together stay below 100 calls a minute, the default rate limit
_FREQUENT_SECONDS = 8.0
_FREQUENT_INTERVAL = 0.25
_INTERVAL = 1.0
_TICK_SECONDS = 0.125
_LONGEST_WAIT = 15.0
GIVE_UP_SECONDS = 300.0


class Display(Protocol):
    """Shows a task's progress: `show` after each event, `tick` in between, `warn` about a lost connection."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, progress: TaskProgress, event: dict[str, Any]) -> None: ...
    def tick(self, progress: TaskProgress) -> None: ...
    def warn(self, message: str) -> None: ...


class NoDisplay:
    """A display that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...
    def show(self, progress: TaskProgress, event: dict[str, Any]) -> None: ...
    def tick(self, progress: TaskProgress) -> None: ...
    def warn(self, message: str) -> None: ...


class PlainLines:
    """A display that prints one line for each event: for pipes, logs and terminals without cursor control."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, progress: TaskProgress, event: dict[str, Any]) -> None:
        """Print the event."""
        line = line_of(progress, event)
        if line:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def tick(self, progress: TaskProgress) -> None:
        """Do nothing between events."""

    def warn(self, message: str) -> None:
        """Print a warning about the connection."""
        sys.stderr.write(f"{message}\n")


def choose_display(*, watch: bool) -> Display:
    """Return a live table on a terminal and plain lines elsewhere; without `watch` a display that shows nothing."""
    if not watch:
        return NoDisplay()
    if sys.stdout.isatty():
        from orchestrator.cli.live_table import LiveTable  # noqa: PLC0415 - rich, only for a terminal

        return LiveTable()
    return PlainLines()


def follow(
    client: ApiClient, task_id: str, display: Display, *, give_up_seconds: float = GIVE_UP_SECONDS
) -> TaskProgress:
    """Show the task's events until it has ended; return its last progress.

    After a lost connection it continues behind the last event it received. Raises ServerUnreachable after
    `give_up_seconds` without an answer, RequestRefused for an error status other than 429.
    """
    progress = TaskProgress(task_id)
    began = time.monotonic()
    with display:
        while True:
            for event in _poll(client, progress, display, give_up_seconds=give_up_seconds):
                if progress.apply(event):
                    display.show(progress, event)
            if progress.is_final():
                display.tick(progress)
                return progress
            is_new = time.monotonic() - began < _FREQUENT_SECONDS
            _wait(_FREQUENT_INTERVAL if is_new else _INTERVAL, lambda: display.tick(progress))


def line_of(progress: TaskProgress, event: dict[str, Any]) -> str:
    """Return one line for an event that `progress` has applied: time, percentage, what happened; may be empty."""
    text = _describe(progress, event["type"], event["data"])
    if not text:
        return ""
    at = datetime.fromisoformat(event["timestamp"]).astimezone()
    return f"{at:%H:%M:%S} {progress.percentage:3d}%  {text}"


def _poll(
    client: ApiClient, progress: TaskProgress, display: Display, *, give_up_seconds: float
) -> list[dict[str, Any]]:
    """Return the events after the last applied one; retry while the server is away or limits the rate."""
    lost_at: float | None = None
    wait = 0.5
    while True:
        try:
            answer = client.get(f"/v1/tasks/{progress.task_id}/events?after={progress.seq}")
        except (ServerUnreachable, RequestRefused) as error:
            if isinstance(error, RequestRefused) and error.status != 429:
                raise
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > give_up_seconds:
                raise
            if wait == 0.5:
                display.warn(f"{error.message}; trying again ...")
            wait = min(wait * 2, _LONGEST_WAIT)
            _wait(getattr(error, "retry_after", None) or wait, lambda: display.tick(progress))
        else:
            events: list[dict[str, Any]] = answer["events"]
            return events


def _wait(seconds: float, tick: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _TICK_SECONDS))
        tick()


def _describe(progress: TaskProgress, kind: str, data: dict[str, Any]) -> str:
    if kind.startswith("step."):
        return _describe_step(progress, kind.removeprefix("step."), data)
    if kind.startswith("approval."):
        return _describe_approval(progress, kind, data)
    if kind == "task.submitted":
        return f"{progress.task_id} accepted"
    if kind == "task.planned":
        kept = f", {len(data['kept'])} kept" if data.get("kept") else ""
        return f"planned, steps: {len(progress.steps)}{kept} (mode {data.get('mode', 'unknown')})"
    if kind == "task.cache":
        source, layer = data.get("source_task_id"), data.get("layer")
        return f"{layer}: the result of {source}" if source else "runs itself: the task it waited for ended"
    if kind == "judge.verdict":
        return f"judge: {data.get('decision')}"
    if kind == "task.repair":
        return f"repair, round {progress.round}: {', '.join(data.get('reruns', []))} again"
    if kind == "task.replan":
        return f"another plan is made: {data.get('reason', 'the result was rejected')}"
    if kind in FINAL_EVENTS:
        return FINAL_EVENTS[kind]
    return kind


def _describe_approval(progress: TaskProgress, kind: str, data: dict[str, Any]) -> str:
    step = progress.steps[step_shown(data["step"])]
    told = "expires soon: " if kind == "approval.expiring" else ""
    return f"{step.name:<24} {step.arm:<16} {told}{step.note}"


def _describe_step(progress: TaskProgress, change: str, data: dict[str, Any]) -> str:
    name = str(data.get("step", ""))
    if change == "spread":
        return f"{name:<24} {data['count']} items"
    step = progress.steps.get(step_shown(name))
    if name != step_shown(name):
        # all items have one line
        message = (data.get("error") or {}).get("message", "")
        return f"{name:<24} failed: {message}" if change == "failed" else ""
    # the table shows queued steps; a line for each would only be noise
    if step is None or change == "queued" or (change == "started" and step.items is not None):
        return ""
    if change == "started":
        change = f"started (attempt {step.attempt})" if step.attempt > 1 else "started"
    elif step.is_final() and step.seconds is not None:
        change = f"{step.state} in {step.seconds:.1f} s"
    return f"{name:<24} {step.arm:<16} {change}" + (f": {step.note}" if step.note else "")
