"""Writes the operations of an OpenAPI document as the methods of the Python clients, sync and async."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from clients.generator.operations import BY_HAND, Document, Method, Parameter, groups, methods
from clients.generator.python_problems import class_name
from clients.generator.python_types import HEADER, PYTHON, options_of, safe

_IMPORTS = """# mypy: disable-error-code="no-any-return"
# an answer is JSON, which has the type that the document declares
# ruff: noqa: A002, A003, E501

from __future__ import annotations

from typing import TYPE_CHECKING

from octollm_client import _calls
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
    for name, text, found in groups(document):
        lines += ["", f"class {class_name(name)}({base}):", f'    """{text}"""', ""]
        for method in found:
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
    lines += [f"        self.{name} = {class_name(name)}(runner)" for name, _, _ in groups(document)]
    return "\n".join(lines) + "\n"


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
    result = PYTHON.result_of(method)
    yield f"    {'async ' if is_async else ''}def {method.name}(self, {', '.join(arguments)}) -> {result}:"
    yield from _docstring(method.text)
    yield f"        return {'await ' if is_async else ''}self._call({_arguments(method)})"
    yield ""


def _iterate(method: Method, iterator: str) -> Iterator[str]:
    # the pages follow each other
    method = replace(method, query=[one for one in method.query if one.name != "cursor"])
    named = [f"{safe(one.name)}: {_argument(one)}" for one in method.query]
    name = "iterate" if method.name == "list" else f"iterate_{method.name}"
    yield f"    def {name}(self, *, {', '.join(named)}) -> {iterator}[t.{method.item_schema}]:"
    yield f'        """Yield the items of all pages of `{method.name}`; `limit` is the size of a page."""'
    yield f"        return self._iterate({_arguments(method)}, items={method.items!r})"
    yield ""


def _given(shape: Mapping[str, Any]) -> str:
    # in a class with a method `list`, that name is not the builtin's
    return PYTHON.type_of(shape, prefix=PYTHON.prefix).replace("list[", "Sequence[")


def _argument(parameter: Parameter) -> str:
    """Return the type of a query's parameter; without a value it is not sent, and the server's default applies."""
    known = PYTHON.type_of(parameter.schema)
    if parameter.required:
        return known
    return f"{known} = None" if known.endswith("None") or known == "Any" else f"{known} | None = None"


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


def _arguments(method: Method) -> str:
    given = {
        "path": _named((one.name, one.name) for one in method.path_parameters),
        "query": _named((one.name, safe(one.name)) for one in method.query),
        "body": method.body and _body(method),
        "idempotency_key": "idempotency_key" if method.verb == "POST" else None,
    }
    arguments = [f"{name}={value}" for name, value in given.items() if value]
    return ", ".join([f"_calls.{method.operation_id.upper()}", *arguments])


def _named(values: Iterable[tuple[str, str]]) -> str | None:
    members = [f'"{name}": {value}' for name, value in values]
    return f"{{{', '.join(members)}}}" if members else None


def calls_module(document: Document) -> str:
    """Return the module with a Call for each operation, whose path is a template."""
    lines = [
        HEADER.format(title="What the methods send, before a path's parameters are filled in."),
        "from octollm_client._call import Call\n",
    ]
    # two methods may be of one operation: one does it, one previews it
    operations = {method.operation_id: method for method in methods(document)}
    for operation_id, method in operations.items():
        members: Mapping[str, str | bool | None] = {
            "is_idempotent": method.is_idempotent,
            "reads": f'"{method.reads}"' if method.reads != "json" else None,
            "answer_statuses": repr(tuple(method.answer_statuses)) if method.answer_statuses else None,
            "credential": '"key"' if method.takes_api_key else '"none"' if method.is_public else None,
        }
        given = [f"{name}={value}" for name, value in members.items() if value]
        arguments = ", ".join([f'"{method.verb}"', f'"{method.path}"', *given])
        lines.append(f"{operation_id.upper()} = Call({arguments})")
    return "\n".join(lines) + "\n"
