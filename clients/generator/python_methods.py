"""Writes the operations of an OpenAPI document as the methods of the Python clients, sync and async."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from clients.generator.operations import BY_HAND, Document, Method, Parameter, groups
from clients.generator.python_types import HEADER, options_of, safe, type_of

_IMPORTS = """# mypy: disable-error-code="no-any-return"
# an answer is JSON, which has the type that the document declares
# ruff: noqa: A002, A003, E501

from __future__ import annotations

from typing import TYPE_CHECKING

from octollm_client._call import Call, path_of
from octollm_client._group import {base}

if TYPE_CHECKING:
    from collections.abc import {iterator}, Sequence
    from typing import Any, Literal, Unpack

    from octollm_client import types as t
    from octollm_client.{module} import {runner}
"""

_COLUMNS = 110
_INDENT = " " * 8


def methods_module(document: Document, *, is_async: bool) -> str:
    """Return the module with a class for each group of methods."""
    base, iterator = ("AsyncGroup", "AsyncIterator") if is_async else ("Group", "Iterator")
    module, runner = ("async_client", "AsyncRunner") if is_async else ("client", "Runner")
    lines = [HEADER.format(title=f"The API's operations as {'async ' if is_async else ''}methods.")]
    lines.append(_IMPORTS.format(base=base, iterator=iterator, module=module, runner=runner))
    for name, text, methods in groups(document):
        lines += ["", f"class {class_of(name)}({base}):", f'    """{text}"""', ""]
        for method in methods:
            if method.operation_id not in BY_HAND:
                lines += _method(method, is_async=is_async)
                lines += _iterate(method, iterator) if method.items else ()
    lines += [
        "",
        "class Operations:",
        '    """All groups."""',
        "",
        f"    def __init__(self, runner: {runner}) -> None:",
    ]
    lines += [f"        self.{name} = {class_of(name)}(runner)" for name, _, _ in groups(document)]
    return "\n".join(lines) + "\n"


def class_of(group: str) -> str:
    """Return the name of a group's class."""
    return "".join(part.capitalize() for part in group.split("_"))


def _method(method: Method, *, is_async: bool) -> Iterator[str]:
    arguments = [f"{one.name}: str" for one in method.path_parameters]
    members = [f"{safe(name)}: {_given(shape)}" for name, shape in method.required_shapes]
    named = [f"{safe(one.name)}: {_argument(one)}" for one in method.query]
    # the only thing that must be said needs no name
    if len(members) == 1:
        arguments += members
    else:
        named = members + named
    if method.verb == "POST":
        named.append("idempotency_key: str | None = None")
    if named:
        arguments += ["*", *named]
    if method.body:
        arguments.append(f"**options: Unpack[t.{options_of(method)}]")
    result = _result(method)
    yield f"    {'async ' if is_async else ''}def {method.name}(self, {', '.join(arguments)}) -> {result}:"
    yield from _docstring(method.text)
    yield f"        return {'await ' if is_async else ''}self._call({_call(method)})"
    yield ""


def _iterate(method: Method, iterator: str) -> Iterator[str]:
    # the pages follow each other
    method = replace(method, query=[one for one in method.query if one.name != "cursor"])
    named = [f"{safe(one.name)}: {_argument(one)}" for one in method.query]
    name = "iterate" if method.name == "list" else f"iterate_{method.name}"
    yield f"    def {name}(self, *, {', '.join(named)}) -> {iterator}[t.{method.item_schema}]:"
    yield f'        """Yield the items of all pages of `{method.name}`; `limit` is the size of a page."""'
    yield f"        return self._iterate({_call(method)}, {method.items!r})"
    yield ""


def _given(shape: Mapping[str, Any]) -> str:
    # in a class with a method `list`, that name is not the builtin's
    return type_of(shape, prefix="t.").replace("list[", "Sequence[")


def _argument(parameter: Parameter) -> str:
    """Return the type of a query's parameter; without a value it is not sent, and the server's default applies."""
    known = type_of(parameter.schema)
    if parameter.required:
        return known
    return f"{known} = None" if known.endswith("None") or known == "Any" else f"{known} | None = None"


def _result(method: Method) -> str:
    if method.reads != "json":
        return {"text": "str", "nothing": "None"}[method.reads]
    names = [name for answer in method.answers for name in type_of(answer, prefix="t.").split(" | ")]
    return " | ".join(dict.fromkeys(names))


def _docstring(text: str) -> Iterator[str]:
    first, _, rest = text.replace("\\", "\\\\").partition("\n\n")
    if not rest:
        yield f'        """{first}"""'
        return
    yield f'        """{first}'
    yield ""
    yield from textwrap.wrap(rest, _COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT)
    yield '        """'


def _body(method: Method) -> str:
    fixed = '"dry_run": True, ' if method.previews else ""
    required = fixed + "".join(f'"{name}": {safe(name)}, ' for name in method.required_members)
    whole = f"{{{required}**options}}"
    return whole if method.is_body_required or method.previews else f"{whole} or None"


def _call(method: Method) -> str:
    path = f'"{method.path}"'
    if method.path_parameters:
        path = f"path_of({path}, {', '.join(f'{one.name}={one.name}' for one in method.path_parameters)})"
    members: Mapping[str, str | bool | None] = {
        "query": "{" + ", ".join(f'"{one.name}": {safe(one.name)}' for one in method.query) + "}"
        if method.query
        else None,
        "body": method.body and _body(method),
        "idempotency_key": "idempotency_key" if method.verb == "POST" else None,
        "is_idempotent": method.is_idempotent,
        "reads": f'"{method.reads}"' if method.reads != "json" else None,
        "answer_statuses": f"{tuple(method.answer_statuses)!r}" if method.answer_statuses else None,
        "credential": '"key"' if method.takes_api_key else '"none"' if method.is_public else None,
    }
    given = [f"{name}={value}" for name, value in members.items() if value]
    return f"Call({', '.join([f'{chr(34)}{method.verb}{chr(34)}', path, *given])})"
