"""The body of POST /v1/tasks/{id}/retry: what is run again, and what a fork or a replay changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError, fields, pre_load, validate, validates_schema

from api.schemas.fields import CriterionField, JsonObject, TrimmedText
from api.schemas.requests import RequestSchema, read
from orchestrator.models.fork import MAX_CHANGED_STEPS, MAX_PROMPT_CHARACTERS, Fork
from orchestrator.models.task_contract import MAX_CONTEXT_BYTES, MAX_CRITERIA
from orchestrator.rules.check_rule import schemas_of
from orchestrator.rules.schema_check import together_faults

MAX_STEP_ID_CHARACTERS = 64
MAX_MODEL_CHARACTERS = 240
EXAMPLES = {
    "all that follows a step": {"from_step": "a"},
    "only say what would run": {"dry_run": True},
    "with another input": {"set": {"inputs": {"a": {"seconds": 0}}}},
    "with another criterion": {"set": {"criteria": ["The answer has three sentences"]}, "dry_run": True},
    "without asking a model": {"replay": True},
}


@dataclass(frozen=True)
class RetryOrder:
    """What a client asks for; `members` are those that its idempotency key covers."""

    from_step: str | None
    fork: Fork | None
    is_dry: bool
    members: Mapping[str, Any]


def _require_objects(inputs: Mapping[str, Any]) -> None:
    if len(inputs) > MAX_CHANGED_STEPS:
        raise ValidationError(f"Names more than {MAX_CHANGED_STEPS} steps.")
    if wrong := {name[:64]: ["Must be an object {input: value}."]
                 for name, values in inputs.items() if not isinstance(values, dict)}:  # fmt: skip
        raise ValidationError(wrong)


class ForkSchema(RequestSchema):
    """What is changed; all else is as in the task that is repeated.

    `inputs` has {step: {input: value}}, where null takes an input away; `prompt` has {step: instruction}, and one for
    the planner under `$plan`. `model` is a provider:model that this server has; it does the steps that ask a model, and
    the judge asks its own. `criteria` replace the acceptance criteria.
    """

    inputs = JsonObject(max_bytes=MAX_CONTEXT_BYTES, validate=_require_objects)
    model = fields.String(validate=validate.Length(1, MAX_MODEL_CHARACTERS))
    prompt = fields.Dict(
        keys=fields.String(),
        values=TrimmedText(validate=validate.Length(1, MAX_PROMPT_CHARACTERS), allow_none=True),
        validate=validate.Length(max=MAX_CHANGED_STEPS),
    )
    criteria = fields.List(CriterionField(), validate=validate.Length(max=MAX_CRITERIA))

    @pre_load
    def _limit_schemas(self, members: Any, **_: Any) -> Any:
        """Refuse too many or too large JSON Schemas before any is examined."""
        criteria = members.get("criteria") if isinstance(members, dict) else None
        items = criteria if isinstance(criteria, list) else []
        rules = [item.get("check") for item in items if isinstance(item, dict)]
        if faults := together_faults(schemas_of(rules)):
            raise ValidationError(faults[0], "criteria")
        return members


class RetryRequestSchema(RequestSchema):
    """The step from which a task runs again, including finished steps, and what is changed in `set`.

    from is another name for from_step. With `replay` all steps run again, and models' answers are those of the first
    time: no model is asked, unless `live_on_miss`. With `dry_run` nothing is written: the reply says which steps
    would be reused and which would run, and why.
    """

    dry_run = fields.Boolean(load_default=False)
    from_step = fields.String(validate=validate.Length(1, MAX_STEP_ID_CHARACTERS))
    from_ = fields.String(data_key="from", validate=validate.Length(1, MAX_STEP_ID_CHARACTERS))
    set_ = fields.Nested(ForkSchema, data_key="set")
    replay = fields.Boolean(load_default=False)
    live_on_miss = fields.Boolean(load_default=False)

    @validates_schema
    def _replays_if_live(self, members: dict[str, Any], **_: Any) -> None:
        if members["live_on_miss"] and not members["replay"]:
            raise ValidationError("Is for a replay: set `replay` too.", "live_on_miss")

    @validates_schema
    def _has_one_step(self, members: dict[str, Any], **_: Any) -> None:
        named = {members.get("from_step"), members.get("from_")} - {None}
        if len(named) > 1:
            raise ValidationError("Differs from from_step.", "from")


_RETRY = RetryRequestSchema()


def read_retry(members: Mapping[str, Any], *, task_id: str) -> RetryOrder:
    """Return what the body of a retry of a task asks for. Raises InvalidInput."""
    given = read(_RETRY, members)
    from_step = given.get("from_step") or given.get("from_")
    changes = {**given.get("set_", {})}
    if "criteria" in changes:
        changes["criteria"] = [dict(vars(criterion)) for criterion in changes["criteria"]]
    if given["replay"]:
        changes |= {"replay_of": task_id, "live_on_miss": given["live_on_miss"]}
    fork = Fork(**changes)
    covered = {"from_step": from_step, **({"set": fork.to_record()} if fork else {})}
    return RetryOrder(from_step, fork or None, given["dry_run"], covered)
