"""Reads the operations of an OpenAPI document and names a method for each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

JSON = "application/json"
PROBLEM = "application/problem+json"
METHODS = ("get", "post", "put", "patch", "delete")
Document = Mapping[str, Any]

# what the path does not say well enough; each line is `operationId: method`
NAMES = {
    "approvals_decide": "decide",
    "approvals_issue_link": "issue_link",
    "arms_beat": "heartbeat",
    "arms_index_capabilities": "capabilities",
    "arms_withdraw": "withdraw",
    "auth_exchange_key": "exchange_key",
    "files_fetch": "download",
    "files_store": "upload",
    "keys_revoke": "revoke",
    "link_decide": "decide_by_link",
    "link_show": "get_by_link",
    "stream_issue_ticket": "issue_stream_ticket",
    "tasks_submit": "submit",
}
# these send or read bytes or streams; both clients have them by hand
BY_HAND = {"files_fetch", "files_store", "stream_read"}
# it needs a token or a cookie, and answers itself if there is none
_TAKES_A_TOKEN = {"session_show"}
# {operationId: why there is no method}
WITHOUT_METHOD = {
    "control_delete": "`cancel` does the same and may give a reason",
    "mcp_call": "for MCP's own clients; `tasks`, `arms` and `approvals` do the same",
    **dict.fromkeys(
        ("responses_cancel", "responses_create", "responses_list_models", "responses_retrieve"),
        "for OpenAI's own SDKs; `tasks` and `recipes` do the same",
    ),
    "session_sign_in": "only for browsers, which keep the cookie",
    "session_sign_out": "only for browsers, which keep the cookie",
    "stream_explain_stream": "a WebSocket; `events` follows a task by server-sent events instead",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the path or the query; `name` is as sent."""

    name: str
    schema: Mapping[str, Any]
    required: bool


@dataclass(frozen=True)
class Method:
    """A method of the clients: `group.name` calls `verb path`.

    `body` is the name of the body's schema, `required_shapes` what it must have. `answers` are the schemas of the
    replies. `answer_statuses` are the statuses from 400 whose reply is an answer, not a problem. `items` is the member
    with the items of a page, and `item_schema` the name of their schema. `previews` is None unless a body's `dry_run`
    decides between two kinds of answers: then there are two methods, one of which previews what the other does.
    """

    operation_id: str
    group: str
    name: str
    verb: str
    path: str
    text: str
    path_parameters: Sequence[Parameter]
    query: Sequence[Parameter]
    body: str | None
    required_shapes: Sequence[tuple[str, Mapping[str, Any]]]
    is_body_required: bool
    answers: Sequence[Mapping[str, Any]]
    reads: str
    answer_statuses: Sequence[int]
    is_idempotent: bool
    items: str | None
    item_schema: str | None
    takes_api_key: bool
    is_public: bool
    previews: bool | None = None

    @property
    def required_members(self) -> list[str]:
        """The names of what the body must have."""
        return [name for name, _ in self.required_shapes]


def methods(document: Document) -> list[Method]:
    """Return the methods in the document's order. Raises ValueError if two have the same name."""
    found = [
        method
        for path, item in document["paths"].items()
        for verb in METHODS
        if verb in item and item[verb]["operationId"] not in WITHOUT_METHOD
        for method in _with_preview(document, _method(document, path, verb, item[verb]))
    ]
    taken: dict[tuple[str, str], Method] = {}
    for method in found:
        other = taken.setdefault((method.group, method.name), method)
        if other is not method:
            raise ValueError(
                f"{method.operation_id} and {other.operation_id} would both be {method.group}.{method.name}: "
                "give one a name in NAMES (clients/generator/operations.py)"
            )
    return found


def groups(document: Document) -> Iterator[tuple[str, str, list[Method]]]:
    """Yield (name, description, methods) of each group, which is a tag of the document."""
    found = methods(document)
    for tag in document["tags"]:
        name = tag["name"].replace("-", "_")
        if mine := [method for method in found if method.group == name]:
            yield name, tag["description"], mine


def _method(document: Document, path: str, verb: str, operation: Mapping[str, Any]) -> Method:
    parameters = operation.get("parameters", ())
    replies = _replies(operation)
    body = operation.get("requestBody", {})
    items, item_schema = _items(document, parameters, replies[JSON])
    schema = (
        body.get("content", {}).get(JSON, {}).get("schema", {}).get("$ref", "").rpartition("/")[2] or None
    )
    return Method(
        operation_id=operation["operationId"],
        group=operation["tags"][0].replace("-", "_"),
        name=NAMES.get(operation["operationId"]) or _name(path, verb),
        verb=verb.upper(),
        path=path,
        text="\n\n".join(filter(None, (operation["summary"], operation["description"]))),
        path_parameters=sorted(
            (_parameter(one) for one in parameters if one["in"] == "path"),
            key=lambda parameter: path.index(f"{{{parameter.name}}}"),
        ),
        # a ticket stands for a token, which a client has
        query=[_parameter(one) for one in parameters if one["in"] == "query" and one["name"] != "ticket"],
        body=schema,
        required_shapes=list(_required(document["components"]["schemas"][schema])) if schema else (),
        is_body_required=bool(body.get("required")),
        answers=replies[JSON],
        reads="json" if replies[JSON] else "text" if replies["text"] else "nothing",
        answer_statuses=[
            int(status)
            for status, reply in operation["responses"].items()
            if int(status) >= 400 and JSON in reply.get("content", {})
        ],
        is_idempotent=bool(operation.get("x-idempotent")),
        items=items,
        item_schema=item_schema,
        takes_api_key={"key": []} in operation["security"],
        is_public=not operation["security"] and operation["operationId"] not in _TAKES_A_TOKEN,
    )


def _required(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in schema.get("required", ()):
        yield name, schema["properties"][name]


def _with_preview(document: Document, method: Method) -> list[Method]:
    names = list(dict.fromkeys(name for shape in method.answers for name in _components(shape)))
    members = document["components"]["schemas"][method.body]["properties"] if method.body else {}
    if "dry_run" not in members or len(names) < 2:
        return [method]
    done, previewed = ({"$ref": f"#/components/schemas/{name}"} for name in names)
    return [
        replace(method, answers=[done], previews=False),
        replace(
            method,
            name=f"preview_{method.name}",
            answers=[previewed],
            previews=True,
            text=f"Say what `{method.name}` would do; nothing is written.",
        ),
    ]


def _components(shape: Mapping[str, Any]) -> list[str]:
    return [one["$ref"].rpartition("/")[2] for one in shape.get("anyOf", [shape]) if "$ref" in one]


def _parameter(declared: Mapping[str, Any]) -> Parameter:
    return Parameter(declared["name"], declared["schema"], declared.get("required", False))


def _replies(operation: Mapping[str, Any]) -> Mapping[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {JSON: [], "text": []}
    for reply in operation["responses"].values():
        for media, content in reply.get("content", {}).items():
            kind = "text" if media.startswith("text/") else media
            if kind in found and content["schema"] not in found[kind]:
                found[kind].append(content["schema"])
    return found


def _name(path: str, verb: str) -> str:
    """Return the name of a method: of a collection, an item in it, or an action on one."""
    _, *parts = path.strip("/").split("/") if path.startswith("/v1/") else ("", "", path.strip("/"))
    last = parts[-1]
    if len(parts) == 1 and path.startswith("/v1/"):
        return {"get": "list", "post": "create"}.get(verb, verb)
    if not last.startswith("{"):
        return last.partition(".")[0].replace("-", "_")
    if len(parts) > 2:
        return parts[-2].removesuffix("s").replace("-", "_")
    return {"put": "replace", "patch": "update"}.get(verb, verb)


def _items(
    document: Document, parameters: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> tuple[str, str] | tuple[None, None]:
    """Return the member with the items and their schema, if the operation returns pages with a cursor."""
    if not any(one["name"] == "cursor" for one in parameters):
        return None, None
    (answer,) = answers
    members = document["components"]["schemas"][answer["$ref"].rpartition("/")[2]]["properties"]
    ((name, shape),) = ((name, shape) for name, shape in members.items() if shape.get("type") == "array")
    return str(name), str(shape["items"]["$ref"].rpartition("/")[2])
