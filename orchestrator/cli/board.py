"""What a watcher knows of a task: a board of steps, kept up to date by the task's numbered events."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

FINAL_EVENTS = {"task.completed": "completed", "task.failed": "failed", "task.cancelled": "cancelled"}
_PLANNED_PERCENT = 5
_STEPS_PERCENT = 85


@dataclass
class Row:
    """One step as it is now; `seconds` is set when an attempt has ended."""

    name: str
    arm: str = ""
    state: str = "waiting"
    attempt: int = 0
    started_at: datetime | None = None
    seconds: float | None = None
    note: str = ""

    def is_final(self) -> bool:
        """Tell whether the step has ended in this round."""
        return self.state in ("done", "failed", "skipped", "cancelled")

    def runs_for(self, now: datetime) -> float | None:
        """Return how many seconds the step took, or has been running for; None before it starts."""
        if self.seconds is not None or self.started_at is None:
            return self.seconds
        return max((now - self.started_at).total_seconds(), 0.0)


@dataclass
class Board:
    """The state of a task after the event number `seq`; events of an older number are ignored."""

    task_id: str
    seq: int = 0
    status: str = "queued"
    activity: str = "waiting for a planner"
    round: int = 1
    percentage: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def is_final(self) -> bool:
        """Tell whether the task has ended."""
        return self.status in FINAL_EVENTS.values()

    def apply(self, event: dict[str, Any]) -> bool:
        """Take in an event {seq, timestamp, type, data}; False when it was known already."""
        if event["seq"] <= self.seq:
            return False
        self.seq = event["seq"]
        kind, fact = event["type"], event["data"]
        if kind.startswith("step.") and not str(fact.get("step", "")).startswith("$"):
            self._apply_step(kind, fact, datetime.fromisoformat(event["timestamp"]))
        elif kind.startswith("step."):
            self.activity = {"$plan": "planning", "$judge": "judging"}.get(fact["step"], self.activity)
        else:
            self._apply_task(kind, fact)
        self._raise_percentage()
        return True

    def _apply_task(self, kind: str, fact: dict[str, Any]) -> None:
        if kind == "task.planned":
            self.status, self.activity = "processing", "executing"
            self.rows = {
                step["step"]: Row(step["step"], step.get("arm", "")) for step in fact.get("steps", [])
            }
        elif kind == "judge.verdict":
            self.verdict, self.activity = fact, "judged"
        elif kind == "task.repair":
            self.round, self.activity = fact.get("round", self.round + 1), "repairing"
            for name in fact.get("reruns", []):
                self.rows[name] = Row(name, self._row(name).arm, note=fact.get("feedback", {}).get(name, ""))
        elif kind in FINAL_EVENTS:
            self.status, self.activity = FINAL_EVENTS[kind], FINAL_EVENTS[kind]
            self.error = fact.get("error")

    def _apply_step(self, kind: str, fact: dict[str, Any], at: datetime) -> None:
        row = self._row(fact["step"])
        row.arm = fact.get("arm", row.arm)
        row.attempt = fact.get("attempt", row.attempt)
        error = fact.get("error") or {}
        match kind:
            case "step.queued":
                row.state = "queued"
            case "step.started":
                row.state, row.started_at, row.seconds = "running", at, None
            case "step.progress":
                row.note = str(fact.get("message", row.note))
            case "step.completed":
                row.state, row.note = "done", "; ".join(fact.get("warnings") or [])
            case "step.reused":
                row.state, row.note = "done", f"reused from {fact['from']['task_id']}"
            case "step.retrying":
                row.state, row.started_at, row.note = "retrying", None, str(error.get("message", ""))
            case "step.failed":
                row.state = "cancelled" if error.get("code") == "cancelled" else "failed"
                row.note = str(error.get("message", ""))
            case "step.skipped":
                row.state, row.note = "skipped", "what it needs did not finish"
        if row.is_final():
            row.seconds = fact["duration_ms"] / 1000 if "duration_ms" in fact else row.runs_for(at)

    def _row(self, name: str) -> Row:
        return self.rows.setdefault(name, Row(name))

    def _raise_percentage(self) -> None:
        """As the server counts: 5 for the plan, 85 for the steps, the rest when all is over; never falls."""
        percent = 0
        if self.rows:
            done = sum(row.is_final() for row in self.rows.values())
            percent = _PLANNED_PERCENT + _STEPS_PERCENT * done // len(self.rows)
        self.percentage = 100 if self.is_final() else max(self.percentage, percent)
