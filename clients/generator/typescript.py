"""Writes the generated files of the TypeScript client: the table of operations, the problems, and their types."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from clients.generator.operations import BY_HAND, Document, Method, groups
from clients.generator.python_problems import class_name, in_order, status_class
from clients.generator.python_types import component_schemas, options_of, safe
from clients.generator.shapes import Language

_HEADER = "// {title} Generated from /openapi.json by `make clients`: do not edit.\n"
_TYPESCRIPT = Language(
    names={
        "string": "string",
        "integer": "number",
        "number": "number",
        "boolean": "boolean",
        "null": "null",
        "any": "any",
        "nothing": "void",
    },
    array="Array<{}>",
    record="Record<string, {}>",
    literals=lambda values: [json.dumps(value) for value in values],
    prefix="T.",
)


def types_module(document: Document) -> str:
    """Return types.d.ts: an interface for each document of the API."""
    lines = [_HEADER.format(title="The API's JSON documents.")]
    for name, schema in sorted(component_schemas(document).items()):
        lines += [f"/** {schema.get('description') or name} */", f"export interface {name} {{"]
        for member, shape in schema.get("properties", {}).items():
            mark = "" if member in schema.get("required", ()) else "?"
            lines.append(f"  {member}{mark}: {_TYPESCRIPT.type_of(shape)};")
        lines += ["}", ""]
    return "\n".join(lines)


def problems_module(document: Document) -> str:
    """Return problems.js: a class for each code; what it means is in problems.d.ts, which editors show."""
    problems = document["x-problems"]
    codes = (f"  {code}: {class_name(code)}," for code in problems)
    return "\n".join(
        [
            _HEADER.format(title="An error class for each `code` of a problem."),
            *_problem_classes(problems, imported=set(), is_described=False),
            "\n/** @type {Readonly<Record<string, typeof import('./errors.js').ApiError>>} */",
            "export const BY_CODE = {",
            *codes,
            "};",
            "",
        ]
    )


def problem_types(document: Document) -> str:
    """Return problems.d.ts."""
    return "\n".join(
        [
            _HEADER.format(title="The types of problems.js."),
            *_problem_classes(document["x-problems"], imported={"ApiError"}, is_described=True),
            "\nexport const BY_CODE: Readonly<Record<string, typeof ApiError>>;",
            "",
        ]
    )


def _problem_classes(problems: Mapping[str, Any], *, imported: set[str], is_described: bool) -> Iterator[str]:
    bases = sorted(imported | {status_class(problem["status"]) for problem in problems.values()})
    yield f'import {{ {", ".join(bases)} }} from "./errors.js";\n'
    for code, base in in_order(problems):
        if is_described:
            yield f"/** {problems[code]['text']} */"
        yield f"export class {class_name(code)} extends {base} {{}}"


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
        arguments.append(
            f"{safe(only)}: {_TYPESCRIPT.type_of(dict(method.required_shapes)[only], prefix='T.')}"
        )
    options = _options(method, only)
    query = _query(method)
    mark = "" if (method.required_members and not only) or any(one.required for one in method.query) else "?"
    if options:
        arguments.append(f"options{mark}: {' & '.join(options)}")
    yield f"  /** {method.text.partition(chr(10))[0]} */"
    yield f"  {camel(method.name)}({', '.join(arguments)}): Promise<{_TYPESCRIPT.result_of(method)}>;"
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
    members = (
        f"{one.name}{'' if one.required else '?'}: {_TYPESCRIPT.type_of(one.schema)}" for one in method.query
    )
    return f"{{ {'; '.join(members)} }}"


def camel(name: str) -> str:
    """Return a name as JavaScript writes it."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
