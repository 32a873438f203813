"""Compares two rounds, of one task or of two: contract, plan, steps with the first divergence, verdict, cost, time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection

from orchestrator.memory import differences, model_answers, rounds, step_details
from orchestrator.memory.differences import RoundUse, RowSeen
from orchestrator.memory.rounds import RoundRecord
from orchestrator.memory.tasks import TaskRecord
from orchestrator.models.errors import InvalidInput
from orchestrator.models.plan import Plan
from orchestrator.models.record import encode
from orchestrator.models.step_result import StepResult
from orchestrator.models.verdict import CriterionFinding
from orchestrator.planner.check import path_lengths
from orchestrator.planner.references import FILE, references_in, step_of

MAX_REFERENCES: Final = 10_000
"""Most references whose parts of outputs are compared, of both rounds together; of the others the whole output is."""
MAX_CHANGES: Final = 20
"""Most places that are named where two values differ."""
MAX_COMPARED_BYTES: Final = 256 * 1024
"""Outputs above this are compared by their hashes alone."""
_MAX_SHOWN: Final = 300
_MAX_NODES: Final = 20_000
KINDS: Final = ("same", "inputs", "output", "status", "absent")
"""What differs of a step first: it, its inputs (with its arm), how it ended, or what it put out."""


@dataclass(frozen=True)
class Change:
    """A place (a JSON pointer) where two values differ; each side is its JSON text, cut; None: it is not there."""

    path: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class Side:
    """One of the two rounds; `verdict` is in `round`."""

    task: TaskRecord
    round: RoundRecord
    use: RoundUse
    rows: Mapping[str, "SeenStep"]

    @property
    def findings(self) -> Sequence[CriterionFinding]:
        """Return what the judge found; nothing while the round is not judged."""
        return self.round.verdict.findings if self.round.verdict else ()


@dataclass(frozen=True)
class SeenStep:
    """A step in one of the rounds; `input_sha256` covers its arm, its action and all that went into it."""

    row: RowSeen
    input_sha256: str


@dataclass(frozen=True)
class StepDifference:
    """A step in both rounds, and which of KINDS differs; None on the side where it is not."""

    name: str
    kind: str
    left: SeenStep | None
    right: SeenStep | None


@dataclass(frozen=True)
class PlanDifference:
    """The steps that only one of the plans has, and those that both have and that differ, with the members that do."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Difference:
    """How two rounds differ; `steps` are in the order of their dependencies.

    `first` is the first step that differs, and `changes` are the places where its inputs, or its outputs, do. `answers`
    tells of each step whether models answered the same; None: none answered, or it is not known. `set` is what the
    right task had set, if it is a fork or a replay.
    """

    left: Side
    right: Side
    contract: Sequence[Change]
    plan: PlanDifference
    steps: Sequence[StepDifference]
    first: StepDifference | None
    findings: Sequence[tuple[str, CriterionFinding | None, CriterionFinding | None]] = ()
    changes: Sequence[Change] = field(default_factory=list)
    answers: Mapping[str, bool] = field(default_factory=dict)
    set: Mapping[str, Any] | None = None


def compare(
    conn: Connection,
    left: TaskRecord,
    right: TaskRecord,
    *,
    numbers: tuple[int | None, int | None] = (None, None),
) -> Difference:
    """Compare a round of each task, without numbers the last ones; both tasks must be the caller's.

    Raises InvalidInput for a round that there is not.
    """
    sides = _side(conn, left, numbers[0]), _side(conn, right, numbers[1])
    steps = _steps(*sides)
    first = next((step for step in steps if step.kind != "same"), None)
    return Difference(
        *sides,
        contract=_contract(left, right),
        plan=_plans(sides[0].round.plan, sides[1].round.plan),
        steps=steps,
        first=first,
        findings=_findings(*sides),
        changes=_changes_of(conn, first) if first else [],
        answers=_answers(conn, steps),
        set=right.contract.get("fork"),
    )


def _answers(conn: Connection, steps: Sequence[StepDifference]) -> dict[str, bool]:
    """Return of each step that models answered in both rounds whether they answered the same."""
    pairs = {step.name: (step.left.row.id, step.right.row.id) for step in steps if step.left and step.right}
    hashes = model_answers.hashes_of(conn, [row_id for pair in pairs.values() for row_id in pair])
    return {
        name: hashes[left] == hashes[right]
        for name, (left, right) in pairs.items()
        if left in hashes and right in hashes
    }


def changes_in(left: Any, right: Any) -> Iterator[Change]:
    """Yield the places where two JSON values differ, the shortest ways first; looks at a bounded number of parts."""
    waiting = [("", left, right)]
    for seen in range(_MAX_NODES):
        if seen >= len(waiting):
            return
        path, one, other = waiting[seen]
        if type(one) is not type(other) or not isinstance(one, dict | list):
            if one is not other and (type(one) is not type(other) or one != other):
                yield Change(path, _text(one), _text(other))
            continue
        first, second = (_members(side) for side in (one, other))
        for name in dict.fromkeys([*first, *second]):
            pair = first.get(name, _MISSING), second.get(name, _MISSING)
            if pair[0] is not pair[1]:
                waiting.append((f"{path}/{name.replace('~', '~0').replace('/', '~1')}", *pair))


_MISSING: Final = object()


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {str(index): item for index, item in enumerate(value)}


def _text(value: Any) -> str | None:
    if value is _MISSING:
        return None
    text = encode(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _side(conn: Connection, task: TaskRecord, number: int | None) -> Side:
    number, source = task.round if number is None else number, task.worker_id
    # a task that another one's result answered has that one's rounds
    if number == task.round and source != task.id:
        history = rounds.history(conn, source)
        number = history[-1].number if history else 0
    use = differences.round_use(conn, source, number=number) if number else None
    if use is None:
        raise InvalidInput.at(
            "rounds", f"{task.id} has no round {number}" if number else f"{task.id} has no plan yet"
        )
    record = rounds.read(conn, source, number=number)
    planned = {step.id for step in record.plan.steps}
    rows = [row for row in differences.rows_of(conn, source, round_number=number) if row.name in planned]
    return Side(task, record, use, _seen(conn, rows))


def _seen(conn: Connection, rows: Sequence[RowSeen]) -> dict[str, SeenStep]:
    """Return the rows with the hash of all that went into each: planned inputs, and the parts of outputs they name."""
    named = {row.name: list(_sources(row)) for row in rows}
    wanted = [place for places in named.values() for place in places]
    hashes = differences.part_hashes(conn, wanted[:MAX_REFERENCES])
    seen = {}
    for row in rows:
        parts = [hashes.get(place) for place in named[row.name]]
        content = encode([row.arm, row.action, row.asked, parts])
        seen[row.name] = SeenStep(row, sha256(content.encode()).hexdigest())
    return seen


def _sources(row: RowSeen) -> Iterator[tuple[str, str]]:
    """Yield (row id, path) of each part of an output that a row's inputs name."""
    for _, reference in references_in(row.asked[:2]):
        source = row.bindings.get(step_of(reference) or "")
        if source is not None:
            pointer = "" if FILE in reference else reference.get("pointer", "")
            names = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
            yield source, json.dumps(names)


def _steps(left: Side, right: Side) -> list[StepDifference]:
    """Return the steps of both rounds, each after those that it depends on."""
    depth: dict[str, int] = {}
    for plan in (right.round.plan, left.round.plan):
        depth |= _depths(plan)
    planned = [step.id for side in (left, right) for step in side.round.plan.steps]
    names = sorted(dict.fromkeys(planned), key=lambda name: depth[name])
    return [_step(name, left.rows.get(name), right.rows.get(name)) for name in names]


def _depths(plan: Plan) -> dict[str, int]:
    """Return how many steps are before each on the longest way to it."""
    after: dict[str, int] = {}
    lengths = path_lengths(plan)
    # a step has a longer path to the end than those that depend on it
    for step in sorted(plan.steps, key=lambda step: -lengths[step.id]):
        after[step.id] = max((after[name] + 1 for name in step.depends_on), default=0)
    return after


def _step(name: str, left: SeenStep | None, right: SeenStep | None) -> StepDifference:
    if left is None or right is None:
        return StepDifference(name, "absent", left, right)
    kind = "same"
    if left.input_sha256 != right.input_sha256:
        kind = "inputs"
    elif (left.row.state, left.row.error_code) != (right.row.state, right.row.error_code):
        kind = "status"
    elif left.row.output_sha256 != right.row.output_sha256:
        kind = "output"
    return StepDifference(name, kind, left, right)


def _contract(left: TaskRecord, right: TaskRecord) -> list[Change]:
    if left.id == right.id:
        return []
    return [
        Change(
            f"/{name}", _text(left.contract.get(name, _MISSING)), _text(right.contract.get(name, _MISSING))
        )
        for name in dict.fromkeys([*left.contract, *right.contract])
        if left.contract.get(name) != right.contract.get(name)
    ]


def _plans(left: Plan, right: Plan) -> PlanDifference:
    before, after = ({step.id: step.to_record() for step in plan.steps} for plan in (left, right))
    changed = {
        name: [
            member
            for member in dict.fromkeys([*step, *after[name]])
            if encode(step.get(member)) != encode(after[name].get(member))
        ]
        for name, step in before.items()
        if name in after
    }
    return PlanDifference(
        [name for name in after if name not in before],
        [name for name in before if name not in after],
        {name: members for name, members in changed.items() if members},
    )


def _findings(left: Side, right: Side) -> list[tuple[str, CriterionFinding | None, CriterionFinding | None]]:
    """Return the criteria that were not judged alike."""
    before, after = (
        {(finding.criterion, finding.step): finding for finding in side.findings} for side in (left, right)
    )
    pairs = [(key[0], before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])]
    return [
        (text, one, other)
        for text, one, other in pairs
        if one is None or other is None or one.met is not other.met
    ]


def _changes_of(conn: Connection, first: StepDifference) -> list[Change]:
    """Return where the inputs of the first step that differs, as planned, do, or else its outputs."""
    left, right = first.left, first.right
    if left is None or right is None:
        return []
    pairs = zip(("inputs", "for_each", "feedback"), left.row.asked, right.row.asked, strict=False)
    asked = [
        Change(f"/{name}{one.path}", one.left, one.right)
        for name, *both in pairs
        for one in changes_in(*both)
    ]
    if (
        first.kind != "output"
        or max(left.row.output_bytes or 0, right.row.output_bytes or 0) > MAX_COMPARED_BYTES
    ):
        return asked[:MAX_CHANGES]
    found = {row.id: row.result for row in step_details.sources(conn, [left.row.id, right.row.id])}
    outputs = [
        StepResult.from_record(found[seen.row.id] or {"status": "done"}).output for seen in (left, right)
    ]
    changes = changes_in(*outputs)
    return [change for change, _ in zip(changes, range(MAX_CHANGES), strict=False)]
