"""The newest events of one task, held in memory and shared by the streams that subscribe to it."""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from api.schemas.responses import event_reply
from orchestrator.memory.events import Event
from orchestrator.models.execution_state import TaskStatus

MAX_BEHIND = 256
MAX_PROGRESS = 64
"""Transient events that wait for one slow stream; the older ones are dropped."""
_FINAL = frozenset(f"task.{status.value}" for status in TaskStatus if status.is_final())


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as JSON, encoded once for all streams; `is_last`: no event follows it."""

    seq: int
    text: str
    is_last: bool

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return an event as streams send it."""
        text = json.dumps(event_reply(event), ensure_ascii=False, separators=(",", ":"))
        return cls(event.seq, text, event.type in _FINAL)


class EventBuffer:
    """The newest events of one task after number `base`, and the callbacks to call when there are more.

    `progress` has, for the callbacks of streams that want it, the transient events that they have not sent yet.
    `end_callbacks` are called only when the task has ended or is gone.

    `is_over`: the task has no further events. `is_gone`: the task was deleted. `is_undone`: the database has lost
    events that are here. Not thread-safe.
    """

    def __init__(self, base: int, *, is_over: bool) -> None:
        self.base = base
        self.frames: deque[Frame] = deque()
        self.callbacks: set[Callable[[], None]] = set()
        self.progress: dict[Callable[[], None], deque[str]] = {}
        self.end_callbacks: set[Callable[[], None]] = set()
        self.is_over = is_over
        self.is_gone = False
        self.is_undone = False

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self.base + len(self.frames)

    @property
    def due_callbacks(self) -> list[Callable[[], None]]:
        """The callbacks to call now that there may be something new."""
        is_final = self.is_over or self.is_gone or self.is_undone
        return [*self.callbacks, *(self.end_callbacks if is_final else ())]

    def add(self, frames: Iterable[Frame]) -> None:
        """Append the frames that follow `last` without a gap; skip all others."""
        for frame in frames:
            if frame.seq == self.last + 1:
                self.frames.append(frame)
                self.is_over = self.is_over or frame.is_last
        while len(self.frames) > MAX_BEHIND:
            self.base = self.frames.popleft().seq

    def after(self, seq: int) -> list[Frame] | None:
        """Return the frames after `seq`; None if some of them are no longer in memory."""
        if seq < self.base:
            return None
        return [frame for frame in self.frames if frame.seq > seq] if seq < self.last else []
