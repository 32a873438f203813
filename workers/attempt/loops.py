"""Spreads a for_each over the items of its list, and gathers their outputs; neither calls an arm."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from orchestrator.chord.database import statement
from orchestrator.lifecycle import loops as item_rows
from orchestrator.lifecycle import output_offload
from orchestrator.memory import loops
from orchestrator.memory.loops import LoopPart
from orchestrator.models.execution_state import StepState
from orchestrator.models.loop import FAILED_ITEMS, Part, Spread, part_of
from orchestrator.models.step_result import FILES, ResultStatus, StepResult
from orchestrator.models.wording import count_of
from orchestrator.planner.references import resolve
from workers.attempt.concerns.failure import failure
from workers.attempt.concerns.large_output import store_large_output
from workers.attempt.concerns.skip import skip_where_needed
from workers.attempt.context import AttemptContext
from workers.attempt.execution import bound_outputs

_MAX_MESSAGE_CHARACTERS: Final = 500
_MAX_WARNINGS: Final = 20


def spread_or_gather(attempt: AttemptContext) -> Spread | StepResult:
    """Return the items of the claimed step's list, or all of their outputs. Raises InvalidStepInput, OutputTooLarge."""
    if part_of(attempt.claim.spec) is Part.SPREAD:
        outcome: Spread | StepResult = skip_where_needed(attempt, _spread)
        return outcome
    return store_large_output(attempt, _gather)


def _spread(attempt: AttemptContext) -> Spread:
    claim, source = attempt.claim, attempt.claim.spec.get("earlier")
    found = resolve(claim.spec["for_each"], bound_outputs(attempt))
    if source is None:
        return item_rows.spread_over(claim, found, ())
    with statement(attempt.process.engine) as conn:
        earlier = loops.earlier_items(
            conn, source["task_id"], round_number=source["round"], parent=claim.spec["id"]
        )
    return item_rows.spread_over(claim, found, earlier)


def _gather(attempt: AttemptContext) -> StepResult:
    claim = attempt.claim
    with statement(attempt.process.engine) as conn:
        parts = loops.read_parts(conn, claim.task_id, round_number=claim.round, parent=claim.name)
        results = {part.name: part.result for part in parts if part.result is not None}
        outputs = output_offload.load_outputs(conn, claim.tenant, results)
    spread, *items = parts
    if spread.state is not StepState.DONE:
        return _without_items(spread)
    errors = [_error(item) for item in items if item.state is not StepState.DONE]
    summary = f"{len(items) - len(errors)} of {count_of(len(items), 'item')} done"
    if errors:
        summary += ", {} failed; the first, {index}: {code}: {message}".format(len(errors), **errors[0])
    output = {
        "summary": summary,
        "items": [outputs.get(item.name) if item.state is StepState.DONE else None for item in items],
        "count": len(items),
        "failed": len(errors),
        "errors": errors,
    }
    warnings = [*_warnings(items)]
    left = len(warnings) - _MAX_WARNINGS
    return StepResult(
        ResultStatus.DONE,
        output=output,
        evidence=[{FAILED_ITEMS: dict(Counter(error["code"] for error in errors))}],
        warnings=[*warnings[:_MAX_WARNINGS], *([f"and {left} more warnings of items"] if left > 0 else [])],
        provenance={"part": Part.GATHER.value, **_files(items)},
    )


def _without_items(spread: LoopPart) -> StepResult:
    """Return the outcome of a step whose list could not be read, or that was skipped."""
    if spread.result is None or spread.result.error is None:
        return spread.result or failure("no_items", "The step's list was not read.")
    return replace(spread.result, error={**spread.result.error, "retryable": False})


def _error(item: LoopPart) -> dict[str, Any]:
    error = (item.result.error if item.result else None) or {
        "code": str(item.state),
        "message": f"the item is {item.state}",
    }
    return {
        "index": item.index,
        "code": error["code"],
        "message": error["message"][:_MAX_MESSAGE_CHARACTERS],
    }


def _warnings(items: Sequence[LoopPart]) -> Iterator[str]:
    for item in items:
        yield from (
            f"item {item.index}: {warning}" for warning in (item.result.warnings if item.result else ())
        )


def _files(items: Sequence[LoopPart]) -> dict[str, list[str]]:
    stored = [file for item in items if item.result for file in item.result.provenance.get(FILES, ())]
    return {FILES: list(dict.fromkeys(stored))} if stored else {}
