"""Reads what clients send: task contracts in both of OctoLLM's dialects, and the smaller requests."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, cast

from marshmallow import (
    EXCLUDE,
    RAISE,
    Schema,
    ValidationError,
    fields,
    pre_load,
    validate,
    validates_schema,
)

from api.middleware import cache_control
from api.schemas.fields import (
    Constraints,
    Context,
    CriterionField,
    Dollars,
    JsonObject,
    Moment,
    PlanField,
    TrimmedText,
)
from orchestrator.auth.callback import MAX_URL_CHARACTERS
from orchestrator.models.arm_capability import ARMS, canonical_arm
from orchestrator.models.errors import InvalidInput
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.ids import is_task_id
from orchestrator.models.task_contract import (
    CACHE_MODES,
    MAX_ATTACHMENTS,
    MAX_CAPABILITIES,
    MAX_CONTEXT_BYTES,
    MAX_CRITERIA,
    MAX_GOAL_CHARACTERS,
    Budget,
    Contract,
    Priority,
)
from orchestrator.rules.check_rule import schemas_of
from orchestrator.rules.json_schema import schema_faults, together_faults

MAX_REPORTED_FAULTS = 50
MAX_FAULT_CHARACTERS = 300
MAX_PAGE = 100
MAX_EVENTS = 1000
MAX_WAIT_SECONDS = 30
MAX_STEP_ID_CHARACTERS = 64
MAX_CACHE_AGE_SECONDS = 31 * 86_400
MAX_VERSION_CHARACTERS = 16
MAX_FOREIGN_ID_CHARACTERS = 64
_STEP_ARMS = {name: arm for name, arm in ARMS.items() if arm.in_plans}
_CAPABILITIES = sorted({word for arm in _STEP_ARMS.values() for word in arm.capabilities})
_IGNORED = ("api_version", "schema_version", "task_id")
_LAST_SEQ = 2**31 - 1
_LAST_ID = 2**63 - 1


def _is_usable_schema(schema: dict[str, Any]) -> None:
    if faults := schema_faults(schema):
        raise ValidationError(faults)


def _is_ahead(moment: datetime) -> None:
    if moment <= datetime.now(UTC):
        raise ValidationError("Must be in the future.")


def _is_known_arm(name: str) -> None:
    if canonical_arm(name) not in ARMS:
        raise ValidationError(f"Unknown arm; known: {', '.join(ARMS)}.")


def _is_step_arm(name: str) -> None:
    if canonical_arm(name) not in _STEP_ARMS:
        raise ValidationError(f"No arm of plans; known: {', '.join(_STEP_ARMS)}.")


def _is_cursor(cursor: str) -> None:
    if not is_task_id(cursor):
        raise ValidationError("Not a cursor of this list.")


class _Request(Schema):
    """A JSON object without unknown members, where null means the same as absent."""

    class Meta:
        unknown = RAISE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Let the description say what `_drop_nulls` does."""
        if not field_obj.required:
            field_obj.allow_none = True

    @pre_load
    def _drop_nulls(self, members: Any, **_: Any) -> Any:
        if not isinstance(members, dict):
            return members
        return {
            name: value for name, value in members.items() if value is not None or name not in self.fields
        }


class BudgetRequest(_Request):
    """What a task may spend; max_cost_usd is another name of max_cost_dollars."""

    max_tokens = fields.Integer(strict=True, validate=validate.Range(1, 100_000))
    max_time_seconds = fields.Integer(strict=True, validate=validate.Range(1, 3_600))
    max_cost_dollars = Dollars(validate=validate.Range(0, 100))
    max_cost_usd = Dollars(validate=validate.Range(0, 100))
    max_retries = fields.Integer(strict=True, validate=validate.Range(0, 10))
    max_repairs = fields.Integer(strict=True, validate=validate.Range(0, 5))

    @validates_schema
    def _has_one_cost(self, budget: dict[str, Any], **_: Any) -> None:
        dollars, usd = budget.get("max_cost_dollars"), budget.get("max_cost_usd")
        if dollars is not None and usd is not None and dollars != usd:
            raise ValidationError("Differs from max_cost_dollars.", "max_cost_usd")


class CacheRequest(_Request):
    """What the cache may do for the task: `max_age` is how old, in seconds, a result may be that answers it."""

    mode = fields.String(load_default="default", validate=validate.OneOf(list(CACHE_MODES)))
    max_age = fields.Integer(strict=True, validate=validate.Range(0, MAX_CACHE_AGE_SECONDS))


class TaskRequest(_Request):
    """A task contract as clients write it."""

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
    budget = fields.Nested(BudgetRequest)
    priority = fields.Enum(Priority, by_value=True)
    metadata = JsonObject()
    deadline = Moment(format="iso", validate=_is_ahead)
    output_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES, validate=_is_usable_schema)
    plan = PlanField()
    callback_url = fields.String(validate=validate.Length(1, MAX_URL_CHARACTERS))
    cache = fields.Nested(CacheRequest)
    required_capabilities = fields.List(
        fields.String(validate=validate.OneOf(_CAPABILITIES)),
        validate=validate.Length(max=MAX_CAPABILITIES),
    )
    assigned_arm = fields.String(validate=_is_step_arm)
    parent_task_id = fields.String(validate=validate.Regexp(r"[A-Za-z0-9_-]{1,64}\Z"))
    # members of OctoLLM's contract that say nothing here
    api_version = fields.String(validate=validate.Length(1, MAX_VERSION_CHARACTERS))
    schema_version = fields.String(validate=validate.Length(1, MAX_VERSION_CHARACTERS))
    task_id = fields.String(validate=validate.Length(1, MAX_FOREIGN_ID_CHARACTERS))

    @pre_load
    def _limit_schemas(self, members: Any, **_: Any) -> Any:
        """Refuse many or large JSON Schemas before any is examined; a plan's own are counted with the plan."""
        if isinstance(members, dict):
            criteria = members.get("acceptance_criteria")
            items = criteria if isinstance(criteria, list) else []
            rules = [item.get("check") for item in items if isinstance(item, dict)]
            whole = {"output_schema": members["output_schema"]} if members.get("output_schema") else {}
            if many := together_faults(schemas_of([whole, *rules])):
                raise ValidationError(many[0], "acceptance_criteria")
        return members


class CancelRequest(_Request):
    """Why a task is cancelled."""

    reason = TrimmedText(load_default="", validate=validate.Length(max=500))


class RetryRequest(_Request):
    """From which step on a task is run again, finished or not; from is another name of from_step."""

    from_step = fields.String(validate=validate.Length(1, MAX_STEP_ID_CHARACTERS))
    from_ = fields.String(data_key="from", validate=validate.Length(1, MAX_STEP_ID_CHARACTERS))

    @validates_schema
    def _has_one_step(self, members: dict[str, Any], **_: Any) -> None:
        if len({name for name in members.values() if name is not None}) > 1:
            raise ValidationError("Differs from from_step.", "from")


class FeedbackRequest(_Request):
    """What a client says of a result."""

    verdict = fields.String(required=True, validate=validate.OneOf(["wrong_hit"]))
    comment = TrimmedText(load_default="", validate=validate.Length(max=500))


class ArmRegistration(_Request):
    """What a client declares about an arm; the registry's own facts may be sent along and stay."""

    arm_id = fields.String(required=True, validate=_is_known_arm)
    status = fields.String(
        load_default="healthy", validate=validate.OneOf(["healthy", "degraded", "unavailable"])
    )
    metadata = JsonObject(load_default=dict)
    name = fields.String()
    description = fields.String()
    capabilities = fields.List(fields.String())
    cost_tier = fields.Integer(strict=True, validate=validate.Range(1, 5))
    endpoint = fields.String()
    input_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES)
    output_schema = JsonObject(max_bytes=MAX_CONTEXT_BYTES)


class TaskListQuery(Schema):
    """Which tasks to list; a cursor is the last id of the page before."""

    status = fields.Enum(TaskStatus, by_value=True, load_default=None)
    limit = fields.Integer(load_default=20, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.String(load_default=None, validate=_is_cursor)


class DeadQuery(Schema):
    """Which given-up steps to list; a cursor is what the page before says."""

    limit = fields.Integer(load_default=20, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.UUID(load_default=None)


class StatusQuery(Schema):
    """How many seconds to wait for the task's end, or for a change of what If-None-Match names."""

    wait = fields.Integer(load_default=0, validate=validate.Range(0, MAX_WAIT_SECONDS))


class EventsQuery(Schema):
    """Which events to read: at most `limit` (of a page) after number `after`; a ticket may stand for a token."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, _LAST_SEQ))
    limit = fields.Integer(load_default=MAX_EVENTS, validate=validate.Range(1, MAX_EVENTS))
    ticket = fields.String(load_default=None)


class StreamQuery(Schema):
    """Where a stream begins; a ticket lets in who can send no header."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, _LAST_SEQ))
    ticket = fields.String(load_default=None)


class TraceQuery(Schema):
    """Which decisions to read: at most `limit` after id `after`."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, _LAST_ID))
    limit = fields.Integer(load_default=MAX_EVENTS, validate=validate.Range(1, MAX_EVENTS))


TASK = TaskRequest()
CANCEL = CancelRequest()
RETRY = RetryRequest()
ARM = ArmRegistration()
FEEDBACK = FeedbackRequest()
TASK_LIST = TaskListQuery(unknown=EXCLUDE)
DEAD = DeadQuery(unknown=EXCLUDE)
STATUS = StatusQuery(unknown=EXCLUDE)
EVENTS = EventsQuery(unknown=EXCLUDE)
STREAM = StreamQuery(unknown=EXCLUDE)
TRACE = TraceQuery(unknown=EXCLUDE)


def read(schema: Schema, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `schema` makes of `members`; raise InvalidInput that lists every fault by its field."""
    try:
        return cast(dict[str, Any], schema.load(members))
    except ValidationError as error:
        faults = _faults(error.messages, "")
        found = [
            {"field": path[:MAX_FAULT_CHARACTERS] or "body", "message": message[:MAX_FAULT_CHARACTERS]}
            for path, message in islice(faults, MAX_REPORTED_FAULTS)
        ]
        count = len(found) + sum(1 for _ in faults)
        first = "{field}: {message}".format(**found[0])
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise InvalidInput(first + more, details={"errors": found}) from error


def read_contract(members: Mapping[str, Any], *, task_timeout: int) -> Contract:
    """Return the contract that a request's body describes; `task_timeout` (seconds) is the default limit.

    Raises InvalidInput. Whether a plan can run and attachments are there is checked at submission.
    """
    given = {name: value for name, value in read(TASK, members).items() if name not in _IGNORED}
    spending = given.pop("budget", {})
    dollars = spending.pop("max_cost_usd", None)
    if (dollars := spending.pop("max_cost_dollars", dollars)) is not None:
        spending |= {"max_cost_dollars": Decimal(str(dollars)), "is_cost_explicit": True}
    if (asked := given.pop("cache", None)) is not None:
        given["cache"] = cache_control.read_member(asked)
    given["acceptance_criteria"] = tuple(given.get("acceptance_criteria", ()))
    given["attachments"] = tuple(dict.fromkeys(given.get("attachments", ())))
    given["required_capabilities"] = tuple(dict.fromkeys(given.get("required_capabilities", ())))
    if "assigned_arm" in given:
        given["assigned_arm"] = canonical_arm(given["assigned_arm"])
    return Contract(budget=Budget(**{"max_time_seconds": task_timeout, **spending}), **given)


def read_from_step(members: Mapping[str, Any]) -> str | None:
    """Return the step from which a retry's request wants all to be run again, if it names one."""
    given = read(RETRY, members)
    step: str | None = given.get("from_step") or given.get("from_")
    return step


def _faults(messages: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted field, message) of marshmallow's nested messages."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            step = "" if name == "_schema" else str(name)[:64]
            yield from _faults(inner, f"{path}.{step}".strip("."))
    elif isinstance(messages, list):
        for inner in messages:
            yield from _faults(inner, path)
    else:
        yield path, str(messages)
