"""Reads an action's description and its parameters' descriptions from a docstring in Google's style."""

import re
from dataclasses import dataclass
from inspect import cleandoc

_SECTION = re.compile(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Example|Examples|Note|Notes):")
_PARAMETER = re.compile(r"\*{0,2}([A-Za-z_][A-Za-z0-9_]*)(?: ?\([^()]*\))?: ?(.*)")
_OF_PARAMETERS = ("Args", "Arguments", "Parameters")


@dataclass(frozen=True)
class Docstring:
    """The first paragraph of a docstring, and {name: text} of its section Args."""

    description: str
    parameters: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Return what a docstring says; lines of a paragraph are joined by spaces."""
    lines = cleandoc(text or "").splitlines()
    first: list[str] = []
    for line in lines:
        if (not line.strip() and first) or _SECTION.fullmatch(line.strip()):
            break
        first.append(line.strip())
    return Docstring(" ".join(filter(None, first)), _parameters(lines))


def _parameters(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    is_inside, name, indent = False, "", 0
    for line in lines:
        own = len(line) - len(line.lstrip())
        if not own and line.strip():
            heading = _SECTION.fullmatch(line.strip())
            is_inside, name, indent = bool(heading and heading[1] in _OF_PARAMETERS), "", 0
            continue
        if not is_inside or not line.strip():
            continue
        indent = indent or own
        parameter = _PARAMETER.fullmatch(line.strip()) if own <= indent else None
        if parameter:
            name = parameter[1]
            found[name] = [parameter[2].strip()]
        elif name:
            found[name].append(line.strip())
    return {name: " ".join(filter(None, parts)) for name, parts in found.items()}
