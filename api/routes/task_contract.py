"""The body of POST /v1/tasks: its schema, its examples, its conversion to a Contract, and who may send it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from marshmallow import ValidationError, fields, pre_load, validate, validates_schema

from api.middleware import cache_control, context
from api.middleware.auth import authorize
from api.schemas.fields import (
    Constraints,
    Context,
    CriterionField,
    Dollars,
    JsonObject,
    PlanField,
    TrimmedText,
    UtcDateTime,
)
from api.schemas.requests import RequestSchema, read
from orchestrator.auth.credential import Principal
from orchestrator.auth.egress import MAX_URL_CHARACTERS
from orchestrator.models.errors import BlockedByPolicy, InvalidInput
from orchestrator.models.fork import Fork
from orchestrator.models.task_contract import (
    CACHE_MODES,
    EFFECTS,
    MAX_ATTACHMENTS,
    MAX_BUDGET_DOLLARS,
    MAX_BUDGET_TOKENS,
    MAX_CAPABILITIES,
    MAX_CONTEXT_BYTES,
    MAX_CRITERIA,
    MAX_GOAL_CHARACTERS,
    MAX_REPLANS,
    Budget,
    Contract,
    Priority,
)
from orchestrator.observability import metric
from orchestrator.planner.offers import StepGround, visible_arms
from orchestrator.rules.check_rule import schemas_of
from orchestrator.rules.schema_check import schema_faults, together_faults
from orchestrator.safety import screening

MAX_CACHE_AGE_SECONDS = 31 * 86_400
MAX_VERSION_CHARACTERS = 16
MAX_FOREIGN_ID_CHARACTERS = 64
MAX_ARM_CHARACTERS = 128
_IGNORED = ("api_version", "schema_version", "task_id")

_EXAMPLE_PLAN = {
    "steps": [
        {"id": "numbers", "arm": "retriever", "action": "collect", "inputs": {"values": [1, 2]}},
        {
            "id": "pause",
            "arm": "executor",
            "action": "wait",
            "inputs": {"seconds": 0.1},
            "depends_on": ["numbers"],
        },
        {
            "id": "agree",
            "arm": "judge",
            "action": "verify",
            "depends_on": ["pause"],
            "inputs": {
                "value": {"$from": "numbers", "pointer": "/values/1"},
                "check": {"at_least": 2},
            },
        },
    ]
}
EXAMPLES: dict[str, Any] = {
    "a goal": {"goal": "Scan this text for secrets and personal data", "context": "Call me at noon."},
    "OctoLLM's Python and TypeScript clients": {
        "goal": "What do the notes say about refunds?",
        "constraints": ["Change nothing"],
        "acceptance_criteria": ["Every sum is named"],
        "context": {"notes": "Refunds of up to 20 dollars are paid at once."},
        "budget": {"max_tokens": 5000, "max_time_seconds": 60, "max_cost_dollars": 0.5},
    },
    "the other dialect": {
        "goal": 'Find "late delivery" in this text',
        "constraints": {"style": "short"},
        "context": "After a late delivery half of the price is paid back.",
        "budget": {"max_cost_usd": 0.5},
        "priority": "high",
        "metadata": {"ticket": 17},
    },
    "a recipe": {
        "goal": "Find the late deliveries",
        "recipe": "search-documents",
        "parameters": {"query": "late delivery"},
        "context": "After a late delivery half of the price is paid back.",
    },
    "a plan of one's own": {
        "goal": "See that the second number is at least 2",
        "plan": _EXAMPLE_PLAN,
        "acceptance_criteria": [
            {
                "text": "The first number is 1",
                "check": {"step": "numbers", "pointer": "/values/0", "at_least": 1},
            }
        ],
        "output_schema": {"type": "object"},
    },
}


def _require_usable_schema(schema: dict[str, Any]) -> None:
    if faults := schema_faults(schema):
        raise ValidationError(faults)


def _require_future(moment: datetime) -> None:
    if moment <= datetime.now(UTC):
        raise ValidationError("Must be in the future.")


class BudgetRequestSchema(RequestSchema):
    """What a task may spend; max_cost_usd is another name for max_cost_dollars."""

    max_tokens = fields.Integer(strict=True, validate=validate.Range(1, MAX_BUDGET_TOKENS))
    max_time_seconds = fields.Integer(strict=True, validate=validate.Range(1, 3_600))
    max_cost_dollars = Dollars(validate=validate.Range(0, MAX_BUDGET_DOLLARS))
    max_cost_usd = Dollars(validate=validate.Range(0, MAX_BUDGET_DOLLARS))
    max_retries = fields.Integer(strict=True, validate=validate.Range(0, 10))
    max_repairs = fields.Integer(strict=True, validate=validate.Range(0, 5))
    max_replans = fields.Integer(strict=True, validate=validate.Range(0, MAX_REPLANS))

    @validates_schema
    def _has_one_cost(self, budget: dict[str, Any], **_: Any) -> None:
        dollars, usd = budget.get("max_cost_dollars"), budget.get("max_cost_usd")
        if dollars is not None and usd is not None and dollars != usd:
            raise ValidationError("Differs from max_cost_dollars.", "max_cost_usd")


class CacheRequestSchema(RequestSchema):
    """How the task may use the cache; `max_age` is the greatest age of a cached result, in seconds."""

    mode = fields.String(load_default="default", validate=validate.OneOf(list(CACHE_MODES)))
    max_age = fields.Integer(strict=True, validate=validate.Range(0, MAX_CACHE_AGE_SECONDS))


class TaskRequestSchema(RequestSchema):
    """A task contract as clients write it, in either of OctoLLM's dialects."""

    goal = TrimmedText(required=True, validate=validate.Length(1, MAX_GOAL_CHARACTERS))
    constraints = Constraints()
    acceptance_criteria = fields.List(CriterionField(), validate=validate.Length(max=MAX_CRITERIA))
    context = Context()
    attachments = fields.List(
        fields.String(
            validate=validate.Regexp(r"[0-9a-f]{64}\Z", error="Not an artifact id."),
            metadata={"pattern": "^[0-9a-f]{64}$"},
        ),
        validate=validate.Length(max=MAX_ATTACHMENTS),
    )
    budget = fields.Nested(BudgetRequestSchema)
    priority = fields.Enum(Priority, by_value=True)
    metadata = JsonObject()
    deadline = UtcDateTime(format="iso", validate=_require_future)
    output_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES, validate=_require_usable_schema)
    plan = PlanField()
    recipe = fields.String(
        validate=validate.Length(1, MAX_FOREIGN_ID_CHARACTERS),
        metadata={"description": "The recipe to plan by: see GET /v1/recipes."},
    )
    parameters = JsonObject(metadata={"description": "Values for the recipe's parameters, by name."})
    callback_url = fields.String(validate=validate.Length(1, MAX_URL_CHARACTERS))
    cache = fields.Nested(CacheRequestSchema)
    required_capabilities = fields.List(
        fields.String(validate=validate.Length(1, MAX_ARM_CHARACTERS)),
        validate=validate.Length(max=MAX_CAPABILITIES),
    )
    assigned_arm = fields.String(validate=validate.Length(1, MAX_ARM_CHARACTERS))
    effects = fields.String(
        validate=validate.OneOf(EFFECTS),
        metadata={"description": "The greatest effects that an action of the plan may have; default: write."},
    )
    parent_task_id = fields.String(validate=validate.Regexp(r"[A-Za-z0-9_-]{1,64}\Z"))
    # members of OctoLLM's contract that are accepted and ignored
    api_version = fields.String(validate=validate.Length(1, MAX_VERSION_CHARACTERS))
    schema_version = fields.String(validate=validate.Length(1, MAX_VERSION_CHARACTERS))
    task_id = fields.String(validate=validate.Length(1, MAX_FOREIGN_ID_CHARACTERS))

    @pre_load
    def _limit_schemas(self, members: Any, **_: Any) -> Any:
        """Refuse too many or too large JSON Schemas before any is examined; the planner limits those in a plan."""
        if isinstance(members, dict):
            criteria = members.get("acceptance_criteria")
            items = criteria if isinstance(criteria, list) else []
            rules = [item.get("check") for item in items if isinstance(item, dict)]
            output = {"output_schema": members["output_schema"]} if members.get("output_schema") else {}
            if faults := together_faults(schemas_of([output, *rules])):
                raise ValidationError(faults[0], "acceptance_criteria")
        return members

    @validates_schema
    def _has_one_source_of_steps(self, members: dict[str, Any], **_: Any) -> None:
        if "recipe" in members and "plan" in members:
            raise ValidationError("Is given beside a plan: leave one of them out.", "recipe")
        if members.get("parameters") and "recipe" not in members:
            raise ValidationError("Are values for a recipe: name it in `recipe`.", "parameters")


_TASK = TaskRequestSchema()


def read_contract(
    members: Mapping[str, Any], *, default_budget: Budget, tenant: str | None = None
) -> Contract:
    """Return the contract that a request's body describes; the `default_budget` has the limits that it leaves out.

    Its arm and capabilities are among those that the `tenant` may use. Raises InvalidInput. The submission checks later
    whether a plan can run and whether attachments exist.
    """
    given = {name: value for name, value in read(_TASK, members).items() if name not in _IGNORED}
    budget = given.pop("budget", {})
    dollars = budget.pop("max_cost_usd", None)
    if (dollars := budget.pop("max_cost_dollars", dollars)) is not None:
        budget |= {"max_cost_dollars": Decimal(str(dollars)), "is_cost_explicit": True}
    if (cache := given.pop("cache", None)) is not None:
        given["cache"] = cache_control.read_member(cache)
    given["acceptance_criteria"] = tuple(given.get("acceptance_criteria", ()))
    given["attachments"] = tuple(dict.fromkeys(given.get("attachments", ())))
    given["required_capabilities"] = tuple(dict.fromkeys(given.get("required_capabilities", ())))
    if given.keys() & {"assigned_arm", "required_capabilities"}:
        named = [given["assigned_arm"]] if given.get("assigned_arm") else []
        _read_arms(given, StepGround(visible_arms(tenant, named=named), tenant))
    return Contract(budget=replace(default_budget, **budget), **given)


def require_priority_scope(principal: Principal, priority: Priority) -> None:
    """Raise Forbidden if the priority is critical and the caller lacks its scope."""
    if priority is Priority.CRITICAL:
        authorize(principal, "task:critical")


def screened(contract: Contract) -> Contract:
    """Return the contract after redaction by the safety policy, and count what was redacted or blocked."""
    with _counting_blocked():
        screened = screening.screen(contract, _policy())
    metric.screened(screened.redacted, "redacted")
    return screened


def screened_fork(fork: Fork) -> Fork:
    """Return what a fork sets after redaction by the safety policy, and count what was redacted or blocked."""
    with _counting_blocked():
        screened, redacted = screening.screen_fork(fork, _policy())
    metric.screened(redacted, "redacted")
    return screened


@contextmanager
def _counting_blocked() -> Iterator[None]:
    try:
        yield
    except BlockedByPolicy as error:
        metric.screened(error.details["kinds"], "blocked")
        raise


def _policy() -> screening.Policy:
    return cast(screening.Policy, context.orchestrator().settings.safety_policy)


def _read_arms(given: dict[str, Any], ground: StepGround) -> None:
    """Write the id of the assigned arm in place of its name; raises InvalidInput for what no arm of a plan offers."""
    if name := given.get("assigned_arm"):
        arm = ground.find_arm(name)
        if arm is None:
            known = ", ".join(ground.arms)
            raise InvalidInput.at("assigned_arm", f"Not an arm that plans can use; known: {known}.")
        given["assigned_arm"] = arm.arm_id
    offered = {word for arm in ground.arms.values() for word in arm.capabilities}
    for index, word in enumerate(given["required_capabilities"]):
        if word not in offered:
            message = f"No arm offers {word!r}; GET /v1/arms lists what they offer."
            raise InvalidInput.at(f"required_capabilities.{index}", message)
