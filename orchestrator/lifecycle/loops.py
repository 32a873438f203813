"""Makes the rows of a for_each's items when its list is known, and saves them with the end of the spread."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from orchestrator.auth import permit
from orchestrator.lifecycle.round_rows import latest_end, repetition
from orchestrator.memory import loops
from orchestrator.memory.claims import Claim
from orchestrator.memory.events import Fact
from orchestrator.memory.tasks import LockedTask
from orchestrator.models import record
from orchestrator.models.arm_capability import ARMS, queue_of
from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.execution_state import StepState
from orchestrator.models.ids import step_id
from orchestrator.models.loop import MEMBER, EarlierItem, Part, Spread, item_name
from orchestrator.models.produced_file import files_in
from orchestrator.models.step_result import ResultStatus, StepResult
from orchestrator.models.task_contract import Priority
from orchestrator.planner.loops import too_many_items
from orchestrator.planner.plan_files import place_of
from orchestrator.planner.references import is_reference, items_in, references_in, step_of
from orchestrator.planner.schema_places import schemas_at
from orchestrator.settings import Settings

MAX_ITEM_BYTES: Final = 16 * 1024 * 1024
"""The most bytes of the items of a for_each together, each with the inputs of its step, as JSON."""
# what an item's row takes over from its step
_KEPT: Final = ("arm", "action", "depends_on", "optional", "timeout_seconds", "position")


def spread_over(claim: Claim, found: Any, earlier: Sequence[EarlierItem]) -> Spread:
    """Return the items of a claimed spread, whose list is `found`, and which of them need not run again.

    An item that was done before is reused if it is the same and its step takes the same outputs of other steps. Raises
    InvalidStepInput for what is no list, for too many items, and for too many bytes.
    """
    spec, step = claim.spec, str(claim.spec["id"])
    if not isinstance(found, list):
        raise InvalidStepInput(f"for_each of step {step} needs a list, and gets {type(found).__name__}")
    if len(found) > spec["max_items"]:
        raise InvalidStepInput(too_many_items(step, len(found), spec["max_items"]))
    size = len(found) * len(record.encode(spec["inputs"]).encode()) + len(record.encode(found).encode())
    if size > MAX_ITEM_BYTES:
        raise InvalidStepInput(
            f"the {len(found)} items of step {step} take {size:,} bytes with its inputs, and {MAX_ITEM_BYTES:,} are "
            "allowed: let the step that makes the list put out less of each item, or fewer"
        )
    known = _matched(claim, found, earlier)
    again = (spec.get("earlier") or {}).get("again", ())
    reused = frozenset(
        index
        for index, one in known.items()
        if one.state == StepState.DONE and again is not None and one.index not in again
    )
    summary = f"{len(found)} items" + (f", {len(reused)} of them done before" if reused else "")
    output = {"summary": summary, "count": len(found), "reused": len(reused)}
    return Spread(StepResult(ResultStatus.DONE, output=output), found, known, reused)


def save_items(
    conn: Connection, task: LockedTask, claim: Claim, spread: Spread, *, settings: Settings
) -> list[Fact]:
    """Insert the rows of a spread's items, with permits; return the event. The caller holds the task's lock."""
    bindings, source = _bindings(claim, spread.items), _file_source(claim, spread.items)
    rows = [
        {**_row(task, claim, spread, index, source=source), "bindings": bindings}
        for index in range(len(spread.items))
    ]
    if rows and (key := settings.permit_private_key):
        until = latest_end(rows, deadline_at=task.deadline_at, contract=task.contract)
        rows = permit.add_permits(key, rows, tenant=task.tenant, deadline_at=until)
    name = claim.spec["id"]
    gather = step_id(claim.task_id, round_number=claim.round, name=name)
    loops.add_items(conn, claim.task_id, rows, parent=name, gather_id=gather)
    fact: dict[str, Any] = {
        "step": name,
        "round": claim.round,
        "count": len(rows),
        "reused": len(spread.reused),
    }
    if spread.reused:
        fact["reused_items"] = sorted(spread.reused)
    return [("step.spread", fact)]


def _matched(claim: Claim, items: Sequence[Any], earlier: Iterable[EarlierItem]) -> dict[int, EarlierItem]:
    """Return the earlier item of each index: one with the same value, whose step is the same."""
    bindings, spec = _bindings(claim, items), claim.spec
    inputs = [spec["inputs"], {**spec["inputs"], **(spec.get("repair_inputs") or {})}]
    same = defaultdict[str, list[EarlierItem]](list)
    for one in sorted(earlier, key=lambda one: -one.index):
        is_same = all(one.spec.get(member) == spec[member] for member in ("arm", "action"))
        if is_same and one.bindings == bindings and one.spec["inputs"] in inputs:
            same[_key(one.spec["item"])].append(one)
    found = {}
    for index, item in enumerate(items):
        if candidates := same.get(_key(item)):
            found[index] = candidates.pop()
    return found


def _key(item: Any) -> str:
    return json.dumps(permit.as_read(item), sort_keys=True)


def _bindings(claim: Claim, items: Sequence[Any]) -> dict[str, str]:
    """Return the rows of the steps whose outputs an item reads."""
    spec = claim.spec
    inputs = (spec["inputs"], spec.get("repair_inputs") or {})
    named = {step_of(reference) for one in inputs for _, reference in references_in(one)}
    named.add(_file_source(claim, items))
    return {name: row for name, row in claim.bindings.items() if name in named}


def _file_source(claim: Claim, items: Sequence[Any]) -> str | None:
    """Return the step that makes the list if its output must show which files the items may name.

    An item stands at a place of a file, or it holds a file, which the step's output may repeat.
    """
    spec, source = claim.spec, claim.spec["for_each"]
    if not is_reference(source):
        return None
    schema = ARMS[spec["arm"]].actions[spec["action"]].input_schema
    paths = (path for one in (spec["inputs"], spec.get("repair_inputs") or {}) for path, _ in items_in(one))
    is_file = any(place_of(schemas_at(schema, [*map(str, path)])) != "other" for path in paths)
    is_file = is_file or any(True for _ in files_in(list(items)))
    return step_of(source) if is_file else None


def _row(task: LockedTask, claim: Claim, spread: Spread, index: int, *, source: str | None) -> dict[str, Any]:
    spec, known, is_reused = claim.spec, spread.earlier.get(index), index in spread.reused
    arm, name = spec["arm"], item_name(spec["id"], index)
    runs_once = ARMS[arm].actions[spec["action"]].runs_once
    took_effect = "repeats" in spec or (known is not None and known.took_effect)
    repeats = runs_once and took_effect and not is_reused
    approval = repetition(name, spec["approval"]) if repeats else spec["approval"]
    feedback = None if is_reused else _feedback(spec, known)
    inputs = {**spec["inputs"], **(spec.get("repair_inputs") or {})} if feedback else spec["inputs"]
    if is_reused and known:
        inputs = known.spec["inputs"]
    return {
        "id": step_id(claim.task_id, round_number=claim.round, name=name),
        "task_id": claim.task_id,
        "round": claim.round,
        "kind": "step",
        "name": name,
        "arm": arm,
        "queue": queue_of(arm),
        "priority": Priority(task.priority).broker_priority,
        "chord_id": claim.chord_id,
        "spec": {
            **{member: spec[member] for member in _KEPT},
            MEMBER: Part.ITEM,
            "description": "",
            "index": index,
            "item": spread.items[index],
            "inputs": inputs,
            **({"item_of": source} if source else {}),
            "approval": approval,
            "feedback": feedback,
            **({"once": True} if runs_once else {}),
            **({"repeats": True} if repeats else {}),
        },
        "path_length": 1,
        "state": "done" if is_reused else "held",
        "reuses": known.id if known and is_reused else None,
        "gate": "closed" if approval is not None and not is_reused else None,
    }


def _feedback(spec: Mapping[str, Any], known: EarlierItem | None) -> str | None:
    """Return what the arm is told of the item's failure before, or else what the judge said of the whole step."""
    if spec.get("feedback") and known is not None and known.error:
        return f"failed with {known.error['code']}: {known.error['message']}"
    feedback: str | None = spec.get("feedback")
    return feedback
