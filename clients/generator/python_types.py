"""Writes the schemas of an OpenAPI document as Python's TypedDicts."""

import keyword
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clients.generator.operations import Document, Method, methods
from clients.generator.shapes import Language

HEADER = '''"""{title} Generated from /openapi.json by `make clients`: do not edit."""

# ruff: noqa: E501
'''


def _literals(values: Sequence[Any]) -> list[str]:
    given = [value for value in values if value is not None]
    names = [f"Literal[{', '.join(map(_literal, given))}]"] if given else []
    return [*names, "None"] if None in values else names


def _literal(value: object) -> str:
    # double quotes, as ruff formats
    return '"' + value.replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


PYTHON = Language(
    names={
        "string": "str",
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "null": "None",
        "any": "Any",
        "nothing": "None",
    },
    array="list[{}]",
    record="dict[str, {}]",
    literals=_literals,
    prefix="t.",
)


def types_module(document: Document) -> str:
    """Return the module of all types."""
    schemas = component_schemas(document)
    lines = [HEADER.format(title="The API's JSON documents as types.")]
    lines += [
        "from __future__ import annotations\n",
        "from typing import Any, Literal, NotRequired, TypedDict\n",
    ]
    for name in sorted(schemas):
        lines += _class(name, schemas[name])
    return "\n".join(lines) + "\n"


def component_schemas(document: Document) -> dict[str, Any]:
    """Return the document's schemas, and those that only the clients have."""
    return {**document["components"]["schemas"], **_options(document), **_variants(document)}


def _options(document: Document) -> dict[str, Any]:
    """Return schemas of the optional members of bodies whose required ones are arguments of their own."""
    found: dict[str, Any] = {}
    for method in methods(document):
        if method.body and options_of(method) != method.body:
            schema = document["components"]["schemas"][method.body]
            members = {
                name: shape
                for name, shape in schema["properties"].items()
                if name not in method.required_members
                and not (name == "dry_run" and method.previews is not None)
            }
            text = f"What {method.group}.{method.name} also takes."
            found[options_of(method)] = found.get(options_of(method)) or {
                "properties": members,
                "description": text,
            }
    return found


def options_of(method: Method) -> str:
    """Return the name of the type of a body's optional members."""
    body = method.body or ""
    has_own = method.required_members or method.previews is not None
    return body.removesuffix("Request") + "Options" if has_own else body


def safe(name: str) -> str:
    """Return a name that may be an argument's in Python; that will do for TypeScript as well."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _variants(document: Document) -> dict[str, Any]:
    """Return what the clients return besides the API's own documents."""
    schemas = document["components"]["schemas"]
    status, event = schemas["Status"], schemas["EventReply"]
    result = {"$ref": "#/components/schemas/Result"}
    return {
        "Completed": {
            **status,
            "properties": {**status["properties"], "result": result},
            "description": "A completed task, which has a result.",
        },
        "Event": {
            **event,
            "required": ["type", "data"],
            "description": "An event of a task; only a transient one has neither number nor time.",
        },
    }


def _class(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    members = {
        member: annotation if member in schema.get("required", ()) else f"NotRequired[{annotation}]"
        for member, shape in schema.get("properties", {}).items()
        for annotation in [PYTHON.type_of(shape)]
    }
    text = schema.get("description") or name
    yield "\n"
    if any(not member.isidentifier() or keyword.iskeyword(member) for member in members):
        yield f"{name} = TypedDict("
        yield f'    "{name}",'
        yield "    {"
        yield from (f'        "{member}": "{_quoted(annotation)}",' for member, annotation in members.items())
        yield "    },"
        yield ")"
        yield f'"""{text}"""'
        return
    yield f"class {name}(TypedDict):"
    yield f'    """{text}"""\n'
    yield from (f"    {member}: {annotation}" for member, annotation in members.items())


def _quoted(annotation: str) -> str:
    return annotation.replace('"', "'")
