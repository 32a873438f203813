"""Tells from a row's events and decisions what became of it: attempts, calls to models, and a log in order of time."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any, Final

from orchestrator.llm.prompt import load_prompt
from orchestrator.memory.events import Event, TraceEntry
from orchestrator.memory.step_details import StepRow

MAX_LINE_CHARACTERS: Final = 2_000
MAX_TEXT_CHARACTERS: Final = 64 * 1024
"""Most characters of what a tool printed in the log; the output has it all."""
# members of an output or of an error's details that hold what a tool printed, and the stream
_PRINTED: Final = {
    "stdout": "stdout",
    "stdout_tail": "stdout",
    "output_tail": "stdout",
    "stderr": "stderr",
    "stderr_tail": "stderr",
}
_ENDS: Final = {"step.completed": "done", "step.failed": "failed", "step.skipped": "skipped"}
_OF_DECISION: Final = (
    "attempt", "worker", "waited_ms", "duration_ms", "outcome", "error", "usage", "provenance"
)  # fmt: skip


@dataclass(frozen=True)
class AttemptAccount:
    """One attempt at a row; `outcome` is running, done, failed, skipped, cancelled, retried, or why it was lost.

    `waited_ms` is the time in the queue before it, `delay_seconds` how long the next one was put off.
    """

    attempt: int
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    waited_ms: int | None = None
    duration_ms: int | None = None
    outcome: str | None = None
    error: Mapping[str, Any] | None = None
    delay_seconds: float | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptUsed:
    """A prompt by name and version; `sha256` is that of its text, None if this release has another version of it."""

    name: str
    version: str | None
    sha256: str | None


@dataclass(frozen=True)
class QuestionAsked:
    """One question to models, which may have taken several calls.

    `failover`: more than one model was tried. `corrections` counts the answers that did not fit and were asked again.
    `record` is what the trace has.
    """

    id: int
    asked_at: datetime
    attempt: int | None
    prompt: PromptUsed
    failover: bool
    corrections: int
    record: Mapping[str, Any]


@dataclass(frozen=True)
class LogLine:
    """One line of a row's log; `source` is event, decision, model, stdout or stderr."""

    at: datetime | None
    source: str
    attempt: int | None
    text: str


def attempts_of(
    row: StepRow, events: Sequence[Event], decisions: Sequence[TraceEntry]
) -> list[AttemptAccount]:
    """Return the attempts at a row, the first one first."""
    found: dict[int, AttemptAccount] = {}
    noted = [_of_event(event) for event in events]
    noted += [
        {name: entry.payload.get(name) for name in _OF_DECISION}
        for entry in decisions
        if entry.kind == "attempt"
    ]
    for facts in noted:
        _note(found, facts)
    last = found.get(row.attempt)
    if row.attempt and row.origin_task is None and (last is None or last.outcome is None):
        _note(found, _of_row(row))
    return [_measured(found[number]) for number in sorted(found)]


def _note(found: dict[int, AttemptAccount], facts: Mapping[str, Any]) -> None:
    number = facts.get("attempt")
    if isinstance(number, int):
        known = {name: value for name, value in facts.items() if value is not None}
        found[number] = replace(found.get(number, AttemptAccount(number)), **known)


def _of_event(event: Event) -> dict[str, Any]:
    """Return what an event says of an attempt; nothing of another event."""
    facts = event.payload
    told = {name: facts.get(name) for name in ("attempt", "error", "worker")}
    if event.type == "step.started":
        return {**told, "started_at": event.occurred_at}
    if event.type in _ENDS:
        ended = {"ended_at": event.occurred_at, "duration_ms": facts.get("duration_ms")}
        return {**told, **ended, "outcome": _ENDS[event.type]}
    if event.type == "step.retrying":
        put_off = {"ended_at": event.occurred_at, "delay_seconds": facts.get("delay_seconds")}
        return {**told, **put_off, "outcome": facts.get("reason") or "postponed"}
    if event.type == "step.outcome_unknown":
        return {**told, "ended_at": event.occurred_at, "outcome": "outcome_unknown"}
    return {}


def _of_row(row: StepRow) -> dict[str, Any]:
    """Return what a row says of its last attempt, which no event ended."""
    known = {"attempt": row.attempt, "worker": row.owner, "started_at": row.started_at}
    return {**known, "ended_at": row.finished_at, "outcome": row.state}


def _measured(attempt: AttemptAccount) -> AttemptAccount:
    if attempt.duration_ms is not None or attempt.started_at is None or attempt.ended_at is None:
        return attempt
    return replace(attempt, duration_ms=round((attempt.ended_at - attempt.started_at).total_seconds() * 1000))


def questions_of(decisions: Iterable[TraceEntry]) -> list[QuestionAsked]:
    """Return the questions to models, the first one first."""
    return [_question(entry) for entry in decisions if entry.kind == "model"]


def _question(entry: TraceEntry) -> QuestionAsked:
    record = entry.payload
    calls = [call for call in record.get("attempts") or () if isinstance(call, Mapping)]
    name, _, version = str(record.get("purpose", "")).partition("@")
    return QuestionAsked(
        entry.id,
        entry.decided_at,
        record.get("attempt"),
        PromptUsed(name, version or None, _prompt_sha256(name, version)),
        len({(call.get("provider"), call.get("model")) for call in calls}) > 1,
        max(0, sum(call.get("outcome") == "ok" for call in calls) - 1),
        record,
    )


@cache
def _prompt_sha256(name: str, version: str) -> str | None:
    try:
        prompt = load_prompt(name)
    except (OSError, ValueError):
        return None
    return sha256(prompt.text.encode()).hexdigest() if prompt.version == version else None


def log_of(
    row: StepRow, events: Iterable[Event], decisions: Iterable[TraceEntry], attempts: Sequence[AttemptAccount]
) -> list[LogLine]:
    """Return what is kept about a row as lines, in the order of time."""
    lines = [
        LogLine(event.occurred_at, "event", event.payload.get("attempt"), _cut(_told(event)))
        for event in events
    ]
    lines += [LogLine(entry.decided_at, *_decided(entry)) for entry in decisions if entry.kind != "attempt"]
    lines.sort(key=lambda line: line.at or row.not_before)
    return [*lines, *_printed(row, attempts)]


def _told(event: Event) -> str:
    facts, kind = event.payload, event.type.partition(".")[2]
    match event.type:
        case "step.queued":
            return "queued"
        case "step.started":
            return f"attempt {facts.get('attempt')} began on {facts.get('worker')}"
        case "step.progress":
            percent = facts.get("percent")
            return ": ".join(
                filter(None, [None if percent is None else f"{percent:g} %", facts.get("message")])
            )
        case "step.completed":
            return "; ".join(["done", *facts.get("warnings", ())])
        case "step.skipped":
            return f"skipped: {facts.get('reason')}"
        case "step.failed" | "step.retrying" | "step.outcome_unknown":
            error = facts.get("error") or {}
            why = f"{error.get('code')}: {error.get('message')}" if error else facts.get("reason")
            delay = facts.get("delay_seconds")
            return f"{kind}: {why}" + (f"; again in {delay:g} s" if delay is not None else "")
    return f"{event.type} {_compact(facts)}"


def _decided(entry: TraceEntry) -> tuple[str, int | None, str]:
    record = entry.payload
    attempt = record.get("attempt") if isinstance(record.get("attempt"), int) else None
    if entry.kind != "model":
        return "decision", attempt, _cut(f"{entry.kind} {_compact(record)}")
    who = f"{record.get('provider')}:{record.get('model')}" if record.get("provider") else "no model"
    if record.get("error"):
        return "model", attempt, _cut(f"{record.get('purpose')} failed with {record['error']}")
    tokens = f"{record.get('input_tokens')} tokens in, {record.get('output_tokens')} out"
    cost = record.get("cost_dollars")
    return (
        "model",
        attempt,
        _cut(
            f"{record.get('purpose')} asked {who}: {tokens}, {'cost unknown' if cost is None else f'${cost}'}"
        ),
    )


def _printed(row: StepRow, attempts: Sequence[AttemptAccount]) -> Iterator[LogLine]:
    """Yield what the tools of the last attempt printed."""
    result = row.result or {}
    number = attempts[-1].attempt if attempts else None
    for holder in (result.get("output"), (result.get("error") or {}).get("details")):
        for member, stream in _PRINTED.items():
            text = holder.get(member) if isinstance(holder, Mapping) else None
            if isinstance(text, str) and text:
                yield LogLine(row.finished_at, stream, number, text[:MAX_TEXT_CHARACTERS])


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", " "), default=str)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE_CHARACTERS else text[: MAX_LINE_CHARACTERS - 1] + "…"
