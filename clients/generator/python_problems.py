"""Writes the problems of an OpenAPI document as exceptions of the Python client."""

from collections.abc import Iterator, Mapping
from typing import Any

from clients.generator.operations import Document
from clients.generator.python_types import HEADER

_STATUS_CLASSES = {
    400: "BadRequest",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    422: "Invalid",
    429: "TooMany",
}
_END = '''
BY_CODE: dict[str, type[errors.ApiError]] = {{
{lines}
}}


def class_of(code: str | None, status: int) -> type[errors.ApiError]:
    """Return the class of a problem; that of its status, if a later server has a new code."""
    return BY_CODE.get(code or "") or errors.STATUS_CLASSES.get(status, errors.ApiError)
'''


def class_name(code: str) -> str:
    """Return the name of a code's class."""
    return "".join(part.capitalize() for part in code.split("_"))


def problems_module(document: Document) -> str:
    """Return the module with a class for each code."""
    problems = document["x-problems"]
    lines = [HEADER.format(title="An exception for each `code` of a problem.")]
    lines.append("from octollm_client import errors\n")
    for code, base in in_order(problems):
        known = base if problems[code]["kind_of"] else f"errors.{base}"
        lines += ["", f"class {class_name(code)}({known}):", f'    """{problems[code]["text"]}"""', ""]
    return "\n".join(lines) + _END.format(
        lines="\n".join(f'    "{code}": {class_name(code)},' for code in problems)
    )


def in_order(problems: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (code, base class) of each problem, a class after the one that it is a kind of."""
    for code in sorted(problems, key=lambda code: (problems[code]["kind_of"] is not None, code)):
        above = problems[code]["kind_of"]
        yield code, class_name(above) if above else status_class(problems[code]["status"])


def status_class(status: int) -> str:
    """Return the name of the class of a status."""
    return _STATUS_CLASSES.get(status, "ServerError" if status >= 500 else "ApiError")
