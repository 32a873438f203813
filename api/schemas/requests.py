"""Base of the request schemas, and the function that validates a request against one."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, cast

from marshmallow import RAISE, Schema, ValidationError, fields, pre_load

from orchestrator.models.errors import InvalidInput

MAX_REPORTED_FAULTS = 50
MAX_FAULT_CHARACTERS = 300
MAX_PAGE = 100
MAX_EVENTS = 1000
MAX_SEQ = 2**31 - 1


class RequestSchema(Schema):
    """A JSON object without unknown members, where null means the same as absent."""

    class Meta:
        unknown = RAISE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Declare optional fields as nullable in the OpenAPI document, since `_drop_nulls` accepts null."""
        if not field_obj.required:
            field_obj.allow_none = True

    @pre_load
    def _drop_nulls(self, members: Any, **_: Any) -> Any:
        if not isinstance(members, dict):
            return members
        known = {field.data_key or name for name, field in self.fields.items()}
        return {name: value for name, value in members.items() if value is not None or name not in known}


def read(schema: Schema, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return `members` as validated by `schema`; raise InvalidInput that lists each fault with its field."""
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


def _faults(messages: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield (dotted field, message) for each of marshmallow's nested messages."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            step = "" if name == "_schema" else str(name)[:64]
            yield from _faults(inner, f"{path}.{step}".strip("."))
    elif isinstance(messages, list):
        for inner in messages:
            yield from _faults(inner, path)
    else:
        yield path, str(messages)
