"""Gathers what is known about one step of a task in one round, in bounded form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection

from orchestrator.lifecycle.step_account import (
    AttemptAccount,
    LogLine,
    QuestionAsked,
    attempts_of,
    log_of,
    questions_of,
)
from orchestrator.memory import approvals, step_details
from orchestrator.memory.approvals import ApprovalRecord
from orchestrator.memory.events import TraceEntry
from orchestrator.memory.step_details import ItemRow, SourceRow, StepRow
from orchestrator.models import record
from orchestrator.models.approval import ApprovalState
from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.execution_state import StepKind
from orchestrator.models.loop import Part, part_of
from orchestrator.models.produced_file import ProducedFile, files_in
from orchestrator.models.step_result import StepResult
from orchestrator.planner.references import NO_ITEM, references_in, resolve, step_of

MAX_SHOWN_BYTES: Final = 256 * 1024
"""A larger value is shown by its beginning; a step's own output is never larger in its row."""
PREVIEW_CHARACTERS: Final = 16 * 1024
MAX_SOURCES: Final = 16
"""Inputs that refer to more steps than this are shown with their references."""
MAX_ENTRIES: Final = 500
"""Most events, and most decisions, that are read of a row."""
MAX_FILES: Final = 200
_MAX_ITEM_CHARACTERS: Final = 2_000
_MAX_NAME_CHARACTERS: Final = 100
_OF_JUDGE: Final = ("verdict", "repair", "replan", "admission")
_OF_PLANNER: Final = ("plan", "cache", "alias", "reuse", "retry")


@dataclass(frozen=True)
class Shown:
    """A JSON value, or only its beginning as text if it is larger than MAX_SHOWN_BYTES.

    `artifact` is the id of the file that holds it as a whole, if one does.
    """

    value: Any
    size_bytes: int
    preview: str | None = None
    artifact: str | None = None


@dataclass(frozen=True)
class InputReference:
    """A place of the inputs, as a JSON pointer, and the row whose output it takes; None if that is not known yet."""

    path: str
    step: str
    pointer: str
    row: SourceRow | None


@dataclass(frozen=True)
class LoopItems:
    """The items of a step with for_each: their number by state, and a page of them."""

    counts: Mapping[str, int]
    page: Sequence[ItemRow]


@dataclass(frozen=True)
class StepDetails:
    """All that is known about a row; `resolved` are the inputs with the outputs that they refer to.

    `unresolved` says why there are none. `is_complete` is false if events or decisions were left out.
    """

    row: StepRow
    inputs: Shown
    references: Sequence[InputReference]
    resolved: Shown | None
    unresolved: str | None
    output: Shown | None
    files: Sequence[ProducedFile]
    attempts: Sequence[AttemptAccount]
    questions: Sequence[QuestionAsked]
    decisions: Sequence[TraceEntry]
    log: Sequence[LogLine]
    approval: ApprovalRecord | None
    items: LoopItems | None = None
    is_complete: bool = True
    evidence: Sequence[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class ItemPage:
    """Which items to read: at most `limit` with an index above `after`."""

    after: int = -1
    limit: int = 50


def read_step(
    conn: Connection, tenant: str, task_id: str, name: str, *, round_number: int | None, items: ItemPage
) -> StepDetails | None:
    """Return a step's details in a round, or in its latest one; None if the task has no such step.

    A round that kept an earlier result has that one. `name` may be that of an item, or $plan or $judge.
    """
    # Postgres has no NUL
    is_name = name.isprintable() and len(name) <= _MAX_NAME_CHARACTERS
    row = step_details.find(conn, task_id, name, round_number=round_number) if is_name else None
    if row is None:
        return None
    events = step_details.events_of(conn, task_id, row.id, limit=MAX_ENTRIES)
    decisions = step_details.decisions_of(conn, task_id, row, kinds=_kinds_of(row), limit=MAX_ENTRIES)
    attempts = attempts_of(row, events, decisions)
    approval = (
        approvals.last_of_step(conn, row.id) if row.spec.get("approval") or row.spec.get("once") else None
    )
    sources = _sources(conn, row)
    resolved, why = _resolved(row, sources, approval)
    result = StepResult.from_record(row.result) if row.result and "status" in row.result else None
    return StepDetails(
        row=row,
        inputs=shown(row.spec.get("inputs", {})),
        references=_references(row, sources),
        resolved=resolved,
        unresolved=why,
        output=_output(conn, tenant, result),
        files=_files(result),
        attempts=attempts,
        questions=questions_of(decisions),
        decisions=decisions,
        log=log_of(row, events, decisions, attempts),
        approval=approval,
        items=_items(conn, task_id, row, items),
        is_complete=max(len(events), len(decisions)) < MAX_ENTRIES,
        evidence=result.evidence[:MAX_FILES] if result else [],
    )


def shown(value: Any) -> Shown:
    """Return a value, or its beginning if it is large."""
    text = record.encode(value)
    size = len(text.encode())
    return Shown(value, size) if size <= MAX_SHOWN_BYTES else Shown(None, size, text[:PREVIEW_CHARACTERS])


def _kinds_of(row: StepRow) -> Sequence[str]:
    """Return the decisions that a judge or a planner made for a whole round."""
    return {StepKind.JUDGE: _OF_JUDGE, StepKind.PLAN: _OF_PLANNER}.get(StepKind(row.kind), ())


def _output(conn: Connection, tenant: str, result: StepResult | None) -> Shown | None:
    if result is None or result.artifact is None:
        return shown(result.output) if result is not None else None
    content = step_details.beginning(conn, tenant, result.artifact, size=PREVIEW_CHARACTERS)
    text = content.decode("utf-8", "ignore") if content is not None else None
    return Shown(None, result.output["size_bytes"], text, result.artifact)


def _files(result: StepResult | None) -> list[ProducedFile]:
    found = {} if result is None else {file.artifact_id: file for file in files_in(result.output)}
    return list(found.values())[:MAX_FILES]


def _sources(conn: Connection, row: StepRow) -> dict[str, SourceRow]:
    """Return the rows whose outputs the inputs name, by step; none if there are more than MAX_SOURCES."""
    named = {step_of(reference) for _, reference in references_in(row.spec.get("inputs", {}))}
    ids = {name: row_id for name, row_id in row.bindings.items() if name in named and row_id}
    if not ids or len(ids) > MAX_SOURCES:
        return {}
    found = {source.id: source for source in step_details.sources(conn, list(ids.values()))}
    return {name: found[row_id] for name, row_id in ids.items() if row_id in found}


def _references(row: StepRow, sources: Mapping[str, SourceRow]) -> list[InputReference]:
    references = [
        InputReference(
            "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path),
            step,
            reference.get("pointer", ""),
            sources.get(step),
        )
        for path, reference in references_in(row.spec.get("inputs", {}))
        if (step := step_of(reference)) is not None
    ]
    return references[:MAX_FILES]


def _resolved(
    row: StepRow, sources: Mapping[str, SourceRow], approval: ApprovalRecord | None
) -> tuple[Shown | None, str | None]:
    """Return the inputs as the arm got them; without them why they are not known."""
    if approval is not None and approval.state == ApprovalState.EDITED:
        return shown(approval.answer), None
    if part_of(row.spec) in (Part.SPREAD, Part.GATHER):
        return None, "each item has inputs of its own"
    results = {
        name: StepResult.from_record(source.result) for name, source in sources.items() if source.result
    }
    large = sorted(name for name, result in results.items() if result.artifact is not None)
    if large:
        return None, f"the output of {', '.join(large)} is a file"
    outputs = {name: result.output for name, result in results.items()}
    try:
        inputs = resolve(
            row.spec.get("inputs", {}),
            outputs,
            item=row.spec.get("item", NO_ITEM),
            max_bytes=MAX_SHOWN_BYTES * 4,
        )
    except InvalidStepInput as unknown:
        return None, unknown.message
    return shown(inputs), None


def _items(conn: Connection, task_id: str, row: StepRow, page: ItemPage) -> LoopItems | None:
    if part_of(row.spec) is not Part.GATHER:
        return None
    counts = step_details.count_items(conn, task_id, row.name, round_number=row.round)
    found = step_details.items_of(
        conn, task_id, row.name, round_number=row.round, after=page.after, limit=page.limit
    )
    return LoopItems(counts, [replace(item, item=_brief(item.item)) for item in found])


def _brief(item: Any) -> Any:
    """Return an item, or the beginning of a large one as text."""
    text = record.encode(item)
    return item if len(text) <= _MAX_ITEM_CHARACTERS else text[:_MAX_ITEM_CHARACTERS] + "…"
