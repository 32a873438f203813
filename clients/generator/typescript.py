"""Writes the generated files of the TypeScript client: the table of operations, the problems, and their types."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clients.generator.operations import BY_HAND, Document, Method, groups
from clients.generator.python_problems import class_name, status_class
from clients.generator.python_types import component_schemas, options_of, safe

_HEADER = "// {title} Generated from /openapi.json by `make clients`: do not edit.\n"
_SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def types_module(document: Document) -> str:
    """Return types.d.ts: an interface for each document of the API."""
    lines = [_HEADER.format(title="The API's JSON documents.")]
    for name, schema in sorted(component_schemas(document).items()):
        lines += [f"/** {schema.get('description') or name} */", f"export interface {name} {{"]
        for member, shape in schema.get("properties", {}).items():
            mark = "" if member in schema.get("required", ()) else "?"
            lines.append(f"  {member}{mark}: {type_of(shape)};")
        lines += ["}", ""]
    return "\n".join(lines)


def type_of(shape: Mapping[str, Any], *, prefix: str = "") -> str:
    """Return the TypeScript type of a JSON Schema; `prefix` goes before names of components."""
    if "$ref" in shape:
        return prefix + str(shape["$ref"].rpartition("/")[2])
    if "enum" in shape:
        return _union([json.dumps(value) for value in shape["enum"]])
    for word in ("anyOf", "oneOf"):
        if word in shape:
            return _union([type_of(choice, prefix=prefix) for choice in shape[word]])
    kinds = shape.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return _union([_of_kind(kind, shape, prefix) for kind in kinds]) if kinds else "any"


def _of_kind(kind: str, shape: Mapping[str, Any], prefix: str) -> str:
    if kind == "array":
        return f"Array<{type_of(shape.get('items', {}), prefix=prefix)}>"
    if kind == "object":
        values = shape.get("additionalProperties")
        return f"Record<string, {type_of(values, prefix=prefix) if isinstance(values, Mapping) else 'any'}>"
    return _SIMPLE[kind]


def _union(names: Sequence[str]) -> str:
    distinct = dict.fromkeys(names)
    return "any" if "any" in distinct else " | ".join(distinct)


def problems_module(document: Document) -> str:
    """Return problems.js: a class for each code."""
    problems = document["x-problems"]
    bases = sorted({status_class(problem["status"]) for problem in problems.values()})
    lines = [_HEADER.format(title="An error class for each `code` of a problem.")]
    lines.append(f'import {{ {", ".join(bases)} }} from "./errors.js";\n')
    for code, base in _in_order(problems):
        lines += [
            f"/** {problems[code]['text']} */",
            f"export class {class_name(code)} extends {base} {{}}",
            "",
        ]
    lines += ["/** @type {Readonly<Record<string, typeof import('./errors.js').ApiError>>} */"]
    lines += ["export const BY_CODE = {"]
    return "\n".join([*lines, *(f"  {code}: {class_name(code)}," for code in problems), "};", ""])


def problem_types(document: Document) -> str:
    """Return problems.d.ts."""
    problems = document["x-problems"]
    bases = sorted({"ApiError", *(status_class(problem["status"]) for problem in problems.values())})
    lines = [_HEADER.format(title="The types of problems.js.")]
    lines.append(f'import {{ {", ".join(bases)} }} from "./errors.js";\n')
    for code, base in _in_order(problems):
        lines += [
            f"/** {problems[code]['text']} */",
            f"export class {class_name(code)} extends {base} {{}}",
            "",
        ]
    return "\n".join([*lines, "export const BY_CODE: Readonly<Record<string, typeof ApiError>>;", ""])


def _in_order(problems: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (code, base class), a class after the one that it is a kind of."""
    for code in sorted(problems, key=lambda code: (problems[code]["kind_of"] is not None, code)):
        above = problems[code]["kind_of"]
        yield code, class_name(above) if above else status_class(problems[code]["status"])


def operations_module(document: Document) -> str:
    """Return table.js: what each method sends."""
    lines = [
        _HEADER.format(title="What each method of the client sends."),
        "/** @type {import('./table.js').Table} */",
        "export const OPERATIONS = {",
    ]
    for group, _, methods in groups(document):
        lines.append(f"  {camel(group)}: {{")
        lines += [
            f"    {camel(method.name)}: {json.dumps(_row(method))},"
            for method in methods
            if method.operation_id not in BY_HAND
        ]
        lines.append("  },")
    return "\n".join([*lines, "};", ""])


def _row(method: Method) -> Mapping[str, Any]:
    members = {
        "verb": method.verb,
        "path": method.path,
        "parameters": [one.name for one in method.path_parameters],
        "query": [one.name for one in method.query],
        "member": method.required_members[0] if len(method.required_members) == 1 else None,
        "hasBody": bool(method.body),
        "fixed": {"dry_run": True} if method.previews else None,
        "isBodyRequired": method.is_body_required,
        "isIdempotent": method.is_idempotent,
        "reads": method.reads,
        "answerStatuses": list(method.answer_statuses),
        "credential": "key" if method.takes_api_key else "none" if method.is_public else "token",
        "items": method.items,
    }
    return {name: value for name, value in members.items() if value}


def operation_types(document: Document) -> str:
    """Return operations.d.ts: the methods of each group."""
    lines = [
        _HEADER.format(title="The methods of the client."),
        'import * as T from "./types.js";\n',
        "/** Sent with a POST, so that it has its effect once however often it arrives; made anew if left out. */",
        "export interface Once {",
        "  idempotencyKey?: string;",
        "}",
        "",
    ]
    names = []
    for group, text, methods in groups(document):
        name = class_name(group)
        names.append((camel(group), name))
        lines += [f"/** {text} */", f"export interface {name} {{"]
        for method in methods:
            if method.operation_id not in BY_HAND:
                lines += _signatures(method)
        lines += ["}", ""]
    lines += ["export interface Operations {"]
    return "\n".join([*lines, *(f"  {group}: {name};" for group, name in names), "}", ""])


def _signatures(method: Method) -> Iterator[str]:
    arguments = [f"{one.name}: string" for one in method.path_parameters]
    only = method.required_members[0] if len(method.required_members) == 1 else None
    if only:
        arguments.append(f"{safe(only)}: {type_of(dict(method.required_shapes)[only], prefix='T.')}")
    options = _options(method, only)
    query = _query(method)
    mark = "" if (method.required_members and not only) or any(one.required for one in method.query) else "?"
    if options:
        arguments.append(f"options{mark}: {' & '.join(options)}")
    yield f"  /** {method.text.partition(chr(10))[0]} */"
    yield f"  {camel(method.name)}({', '.join(arguments)}): Promise<{_result(method)}>;"
    if method.items:
        name = "iterate" if method.name == "list" else camel(f"iterate_{method.name}")
        yield f"  /** The items of all pages of `{camel(method.name)}`; `limit` is the size of a page. */"
        yield f"  {name}(options?: {query}): AsyncGenerator<T.{method.item_schema}, void>;"


def _options(method: Method, only: str | None) -> list[str]:
    found = [_query(method)] if method.query else []
    if method.body:
        found.append(f"T.{options_of(method) if only or method.previews is not None else method.body}")
    if method.verb == "POST":
        found.append("Once")
    return found


def _query(method: Method) -> str:
    members = (f"{one.name}{'' if one.required else '?'}: {type_of(one.schema)}" for one in method.query)
    return f"{{ {'; '.join(members)} }}"


def _result(method: Method) -> str:
    if method.reads != "json":
        return {"text": "string", "nothing": "void"}[method.reads]
    names = [name for answer in method.answers for name in type_of(answer, prefix="T.").split(" | ")]
    return " | ".join(dict.fromkeys(names))


def camel(name: str) -> str:
    """Return a name as JavaScript writes it."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
