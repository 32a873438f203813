"""The progress of a task and its steps, computed from the task's numbered events."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.cli.output import printable

FINAL_EVENTS = {"task.completed": "completed", "task.failed": "failed", "task.cancelled": "cancelled"}
_PLANNED_PERCENT = 5
_STEPS_PERCENT = 85
# the commands that decide an approval
_COMMANDS = {
    "approve": "octollm approve {id}",
    "edit": "octollm approve {id} --inputs JSON",
    "answer": "octollm answer {id} JSON",
    "run_again": "octollm run-again {id}",
    "accept": "octollm accept {id} JSON",
    "reject": "octollm reject {id} --comment TEXT",
}


def told_request(data: dict[str, Any]) -> str:
    """Return what an event approval.requested or approval.expiring says: who should decide what, until when, how."""
    by = f" by {printable(data['by'])}" if data.get("by") else ""
    until = datetime.fromisoformat(data["expires_at"]).astimezone()
    how = decision_commands(data["approval_id"], data["allow"])
    return f"waiting for {data['kind']}{by} until {until:%Y-%m-%d %H:%M:%S}: {how}"


def told_decision(data: dict[str, Any]) -> str:
    """Return what an event approval.decided says: the decision, who made it, and the comment."""
    by = f" by {printable(data['decided_by'])}" if data.get("decided_by") else ""
    comment = f": {printable(data['comment'])}" if data.get("comment") else ""
    return f"{data['state'].replace('_', ' ')}{by}{comment}"


def decision_commands(approval_id: str, allow: list[str]) -> str:
    """Return the commands that decide an approval."""
    return " | ".join(_COMMANDS[verb].format(id=approval_id) for verb in allow if verb in _COMMANDS)


def step_shown(name: str) -> str:
    """Return the step of the plan to which a row belongs: an item `fix[3]` and a spread `fix[]` belong to `fix`."""
    return name.partition("[")[0]


@dataclass
class ItemsProgress:
    """The items of a step with for_each: how many there are, and how many have ended."""

    count: int = 0
    done: int = 0
    failed: int = 0

    def told(self) -> str:
        """Return the counts in words."""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done + self.failed} of {self.count} items{failed}"


@dataclass
class StepProgress:
    """The state of one step; `seconds` is the duration of its last attempt that ended.

    `items` are those of a step with for_each, which has one line for all of them.
    """

    name: str
    arm: str = ""
    state: str = "waiting"
    attempt: int = 0
    started_at: datetime | None = None
    seconds: float | None = None
    note: str = ""
    items: ItemsProgress | None = None

    def is_final(self) -> bool:
        """Return whether the step has ended in this round."""
        return self.state in ("done", "failed", "skipped", "cancelled")

    def lasted(self, data: dict[str, Any], at: datetime) -> float | None:
        """Return the seconds that the step took, by the event of its end; with items from the first start."""
        is_measured = "duration_ms" in data and self.items is None
        return data["duration_ms"] / 1000 if is_measured else self.seconds_at(at)

    def told_items(self) -> list[str]:
        """Return what to say of the items of a step with for_each; nothing of another step."""
        return [self.items.told()] if self.items is not None else []

    def is_gathered_by(self, kind: str) -> bool:
        """Return whether an event only says that the step's items are being gathered, which is no state of the step."""
        return self.items is not None and kind in ("step.queued", "step.started")

    def seconds_at(self, now: datetime) -> float | None:
        """Return the seconds the step took, or has been running for; None before it starts."""
        if self.seconds is not None or self.started_at is None:
            return self.seconds
        return max((now - self.started_at).total_seconds(), 0.0)


@dataclass
class TaskProgress:
    """The state of a task after event number `seq`; events with a lower or equal number are ignored."""

    task_id: str
    seq: int = 0
    status: str = "queued"
    activity: str = "waiting for a planner"
    round: int = 1
    is_planned: bool = False
    percentage: int = 0
    steps: dict[str, StepProgress] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def is_final(self) -> bool:
        """Return whether the task has ended."""
        return self.status in FINAL_EVENTS.values()

    def apply(self, event: dict[str, Any]) -> bool:
        """Apply an event {seq, timestamp, type, data}; return False when it was applied before."""
        if event["seq"] <= self.seq:
            return False
        self.seq = event["seq"]
        kind, data = event["type"], event["data"]
        if "[" in str(data.get("step", "")) or kind == "step.spread":
            self._apply_item(kind, data, datetime.fromisoformat(event["timestamp"]))
        elif kind.startswith("step.") and not str(data.get("step", "")).startswith("$"):
            if (step := self._step(data["step"])).is_gathered_by(kind):
                return True
            if step.items is not None:
                data = {**data, "arm": step.arm}
            self._apply_step(kind, data, datetime.fromisoformat(event["timestamp"]))
        elif kind.startswith("step."):
            self.activity = {"$plan": "planning", "$judge": "judging"}.get(data["step"], self.activity)
        elif kind.startswith("approval."):
            self._apply_approval(kind, data)
        else:
            self._apply_task(kind, data)
        self._raise_percentage()
        return True

    def _apply_task(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "task.planned":
            self.status, self.activity, self.is_planned = "processing", "executing", True
            self.round = data.get("round", self.round)
            # what an earlier round did, and what began while the plan was written, and the plan has
            early = [name for name, what in data.get("early", {}).items() if what != "dropped"]
            kept = {name: self.steps[name] for name in [*data.get("kept", []), *early] if name in self.steps}
            self.steps = {
                step["step"]: kept.get(step["step"]) or StepProgress(step["step"], step.get("arm", ""))
                for step in data.get("steps", [])
            }
        elif kind == "judge.verdict":
            self.verdict, self.activity = data, "judged"
        elif kind == "task.repair":
            self.round, self.activity = data.get("round", self.round + 1), "repairing"
            for name in data.get("reruns", []):
                self.steps[name] = StepProgress(
                    name, self._step(name).arm, note=data.get("feedback", {}).get(name, "")
                )
        elif kind == "task.replan":
            self.activity = "planning again"
        elif kind in FINAL_EVENTS:
            self.status, self.activity = FINAL_EVENTS[kind], FINAL_EVENTS[kind]
            self.error = data.get("error")

    def _apply_step(self, kind: str, data: dict[str, Any], at: datetime) -> None:
        step = self._step(data["step"])
        step.arm = data.get("arm", step.arm)
        step.attempt = data.get("attempt", step.attempt)
        error = data.get("error") or {}
        match kind:
            case "step.queued":
                step.state = "queued"
            case "step.started":
                step.state, step.started_at, step.seconds = "running", at, None
            case "step.progress":
                step.note = _said(data) or step.note
            case "step.completed":
                step.state, step.note = "done", "; ".join([*step.told_items(), *(data.get("warnings") or [])])
            case "step.reused":
                step.state, step.note = "done", f"reused from {data['from']['task_id']}"
            case "step.retrying":
                step.state, step.started_at, step.note = "retrying", None, str(error.get("message", ""))
            case "step.failed":
                step.state = "cancelled" if error.get("code") == "cancelled" else "failed"
                step.note = str(error.get("message", ""))
            case "step.skipped":
                step.state = "skipped"
                step.note = str(data.get("reason") or "a step it depends on did not finish")
        if step.is_final():
            step.seconds = step.lasted(data, at)

    def _apply_item(self, kind: str, data: dict[str, Any], at: datetime) -> None:
        step = self._step(step_shown(data["step"]))
        step.items = step.items or ItemsProgress()
        if kind == "step.spread":
            step.items = ItemsProgress(data["count"], done=data["reused"])
        elif kind.startswith("approval."):
            self._apply_approval(kind, data)
            return
        elif kind == "step.started" and step.started_at is None:
            step.state, step.started_at, step.seconds = "running", at, None
        elif not data["step"].endswith("[]"):
            step.items.done += kind == "step.completed"
            step.items.failed += kind == "step.failed"
        step.state = "running" if step.state in ("queued", "asking") else step.state
        step.note = step.items.told()

    def _apply_approval(self, kind: str, data: dict[str, Any]) -> None:
        step = self._step(step_shown(data["step"]))
        if kind == "approval.decided":
            step.note = told_decision(data)
        elif kind in ("approval.requested", "approval.expiring"):
            step.state, step.started_at, step.note = "asking", None, told_request(data)

    def _step(self, name: str) -> StepProgress:
        return self.steps.setdefault(name, StepProgress(name))

    def _raise_percentage(self) -> None:
        """Count as the server does: 5 for the plan, 85 for the steps, 100 at the end; never decreases."""
        percent = 0
        if self.steps and self.is_planned:
            done = sum(step.is_final() for step in self.steps.values())
            percent = _PLANNED_PERCENT + _STEPS_PERCENT * done // len(self.steps)
        self.percentage = 100 if self.is_final() else max(self.percentage, percent)


def _said(data: dict[str, Any]) -> str:
    """Return what a step said of its progress: `40 %, half of it`."""
    percent, message = data.get("percent"), str(data.get("message") or "")
    return ", ".join(filter(None, ("" if percent is None else f"{percent:g} %", message)))
