"""What a retry would do: the reply to a retry with `dry_run`."""

from typing import Any

from marshmallow import fields

from api.schemas.responses import ResponseSchema, one_of, task_id_field
from orchestrator.lifecycle.retry_preview import REASONS, RetryPreview, StepToRun
from orchestrator.memory.budget import Spent


class ReusedStepSchema(ResponseSchema):
    """A step whose result is kept; `task_id` is the task that did the work."""

    step_id = fields.String()
    arm_id = fields.String()
    task_id = task_id_field()


class ItemsToRunSchema(ResponseSchema):
    """How many items of a step with for_each are reused, and how many run."""

    reused = fields.Integer()
    runs = fields.Integer()


class StepToRunSchema(ResponseSchema):
    """A step that runs again, and why; `asks`: a person is asked first.

    `items` is null for a step without for_each, and where the list is made again. The estimates are what the step used
    before; null: not known.
    """

    step_id = fields.String()
    arm_id = fields.String()
    action = fields.String()
    reason = one_of(*REASONS)
    asks = fields.Boolean()
    items = fields.Nested(ItemsToRunSchema, allow_none=True)
    estimated_tokens = fields.Integer(allow_none=True)
    estimated_cost_dollars = fields.Float(allow_none=True)


class EstimateSchema(ResponseSchema):
    """What something used before; null: not known."""

    estimated_tokens = fields.Integer(allow_none=True)
    estimated_cost_dollars = fields.Float(allow_none=True)


class RetryPreviewSchema(ResponseSchema):
    """What a retry would do; nothing was written.

    `is_planned` is false if the task was never planned: then it is planned first, and nothing else is known. The
    estimates are what the steps that run, and the judge, used before; null if that is not known of one of them.
    """

    is_planned = fields.Boolean()
    reused = fields.List(fields.Nested(ReusedStepSchema))
    runs = fields.List(fields.Nested(StepToRunSchema))
    judge = fields.Nested(EstimateSchema)
    estimated_tokens = fields.Integer(allow_none=True)
    estimated_cost_dollars = fields.Float(allow_none=True)


_PREVIEW = RetryPreviewSchema()


def preview_reply(preview: RetryPreview) -> dict[str, Any]:
    """Return what a retry would do in the shape that clients get."""
    return _PREVIEW.to_json(
        {
            "is_planned": preview.is_planned,
            "reused": [
                {"step_id": step.name, "arm_id": step.arm, "task_id": step.task_id} for step in preview.reused
            ],
            "runs": [_step(step) for step in preview.runs],
            "judge": _estimate(preview.judge),
            **_estimate(preview.spent),
        }
    )


def _step(step: StepToRun) -> dict[str, Any]:
    return {**vars(step), "step_id": step.name, "arm_id": step.arm, **_estimate(step.spent)}


def _estimate(spent: Spent) -> dict[str, Any]:
    return {"estimated_tokens": spent.tokens, "estimated_cost_dollars": spent.dollars}
