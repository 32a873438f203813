"""How two rounds differ: schemas and the serializer."""

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from api.schemas.requests import MAX_SEQ
from api.schemas.responses import ResponseSchema, one_of, status_field, task_id_field
from orchestrator.lifecycle.difference import KINDS, Difference, SeenStep, Side, StepDifference
from orchestrator.models.ids import is_task_id
from orchestrator.models.verdict import CriterionFinding

_ROUNDS = re.compile(r"([0-9]{1,10}),([0-9]{1,10})")


def _require_task(text: str) -> None:
    if not is_task_id(text):
        raise ValidationError("Not the id of a task.")


class DifferenceQuerySchema(Schema):
    """With which task to compare, and which rounds: "1,2" are round 1 of this task, and round 2 of the other one.

    Without `other` two rounds of the same task are compared; without `rounds` the last ones.
    """

    other = fields.String(load_default=None, validate=_require_task)
    rounds = fields.String(load_default=None)

    @validates_schema
    def _names_something(self, members: dict[str, Any], **_: Any) -> None:
        given = members.get("rounds")
        if given is not None and read_rounds(given) is None:
            raise ValidationError('Two numbers of rounds, such as "1,2".', "rounds")
        if given is None and members.get("other") is None:
            raise ValidationError("Name another task, or two rounds of this one by `rounds`.", "other")


def read_rounds(text: str) -> tuple[int, int] | None:
    """Return the two numbers of rounds that a text names; None if it is malformed."""
    found = _ROUNDS.fullmatch(text)
    numbers = (int(found[1]), int(found[2])) if found else (0, 0)
    return numbers if min(numbers) >= 1 and max(numbers) <= MAX_SEQ else None


class ChangeSchema(ResponseSchema):
    """A place (a JSON pointer) where two values differ; each side is its JSON text, cut; null: it is not there."""

    path = fields.String()
    left = fields.String(allow_none=True)
    right = fields.String(allow_none=True)


class ComparedSideSchema(ResponseSchema):
    """One of the two rounds; cost and tokens are those of the round, `decision` is its verdict."""

    task_id = task_id_field()
    status = status_field()
    goal = fields.String()
    round = fields.Integer()
    mode = fields.String()
    decision = fields.String(allow_none=True)
    coverage = fields.Float(allow_none=True)
    tokens_used = fields.Integer()
    cost_dollars = fields.Float(allow_none=True)
    milliseconds = fields.Integer()


class PlanDifferenceSchema(ResponseSchema):
    """The steps that only the right plan has, only the left one, and by step the members that differ."""

    added = fields.List(fields.String())
    removed = fields.List(fields.String())
    changed = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


class ComparedStepSchema(ResponseSchema):
    """A step in one of the rounds; `task_id` and `round` are those of the row that holds its result.

    `input_sha256` covers its arm, its action and all that went into it.
    """

    task_id = task_id_field()
    round = fields.Integer()
    arm_id = fields.String()
    action = fields.String()
    status = fields.String()
    error_code = fields.String(allow_none=True)
    summary = fields.String(allow_none=True)
    input_sha256 = fields.String()
    output_sha256 = fields.String(allow_none=True)
    output_bytes = fields.Integer(allow_none=True)
    duration_ms = fields.Integer(allow_none=True)


class StepDifferenceSchema(ResponseSchema):
    """A step, and what differs of it first: it is absent, its inputs or its arm, how it ended, what it put out.

    `same_answers` tells whether models answered the same; null: none answered, or it is not known.
    """

    step_id = fields.String()
    difference = one_of(*KINDS)
    same_answers = fields.Boolean(allow_none=True)
    left = fields.Nested(ComparedStepSchema, allow_none=True)
    right = fields.Nested(ComparedStepSchema, allow_none=True)


class FindingDifferenceSchema(ResponseSchema):
    """A criterion that was not judged alike; null: that verdict does not have it."""

    criterion = fields.String()
    left = fields.Raw(allow_none=True)
    right = fields.Raw(allow_none=True)


class DifferenceSchema(ResponseSchema):
    """How two rounds differ; `steps` are in the order of their dependencies.

    `first_divergence` is the first step that differs, `changes` where its inputs as planned, or its outputs, do. `set`
    is what was set in the right task, if it is a fork or a replay.
    """

    left = fields.Nested(ComparedSideSchema)
    right = fields.Nested(ComparedSideSchema)
    contract = fields.List(fields.Nested(ChangeSchema))
    plan = fields.Nested(PlanDifferenceSchema)
    steps = fields.List(fields.Nested(StepDifferenceSchema))
    first_divergence = fields.String(allow_none=True)
    changes = fields.List(fields.Nested(ChangeSchema))
    findings = fields.List(fields.Nested(FindingDifferenceSchema))
    set_ = fields.Raw(data_key="set", allow_none=True)


_DIFFERENCE = DifferenceSchema()


def difference_reply(found: Difference) -> dict[str, Any]:
    """Return a difference in the shape that clients get."""
    return _DIFFERENCE.to_json(
        {
            **vars(found),
            "left": _side(found.left),
            "right": _side(found.right),
            "steps": [_step(step, found.answers.get(step.name)) for step in found.steps],
            "set_": found.set,
            "first_divergence": found.first.name if found.first else None,
            "findings": [
                {"criterion": text, "left": _finding(one), "right": _finding(other)}
                for text, one, other in found.findings
            ],
        }
    )


def _side(side: Side) -> dict[str, Any]:
    task, verdict = side.task, side.round.verdict
    return {
        "task_id": task.id,
        "status": task.status,
        "goal": task.goal,
        "round": side.round.number,
        "mode": side.round.plan.mode,
        "decision": verdict.decision.value if verdict else None,
        "coverage": verdict.coverage if verdict else None,
        "tokens_used": side.use.tokens,
        "cost_dollars": side.use.cost,
        "milliseconds": side.use.milliseconds,
    }


def _step(step: StepDifference, same_answers: bool | None) -> dict[str, Any]:
    return {
        "step_id": step.name,
        "same_answers": same_answers,
        "difference": step.kind,
        "left": _seen(step.left),
        "right": _seen(step.right),
    }


def _seen(seen: SeenStep | None) -> dict[str, Any] | None:
    if seen is None:
        return None
    row = seen.row
    return {**vars(row), "arm_id": row.arm, "status": row.state, "input_sha256": seen.input_sha256}


def _finding(finding: CriterionFinding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {"met": finding.met, "checked_by": finding.checked_by.value, "explanation": finding.explanation}
