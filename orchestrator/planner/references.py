"""Reads references in inputs: {"$from": step, "pointer": JSON pointer} stands for a part of its output."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.json_pointer import follow, is_pointer

FROM = "$from"
POINTER = "pointer"


def is_reference(value: Any) -> bool:
    """Tell whether `value` is meant as a reference, well-formed or not."""
    return isinstance(value, dict) and FROM in value


def fault_of(reference: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a reference's form, or None."""
    if not isinstance(reference[FROM], str):
        return f"{FROM} must be the id of a step"
    if not is_pointer(reference.get(POINTER, "")):
        return "pointer must be a JSON pointer (RFC 6901): empty, or starting with '/'"
    if set(reference) - {FROM, POINTER}:
        return f"a reference holds {FROM} and pointer only"
    return None


def references_in(value: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Yield (path, reference) for each reference at any depth of `value`."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, node = waiting.pop()
        if is_reference(node):
            yield path, node
        elif isinstance(node, dict):
            waiting.extend(((*path, name), child) for name, child in node.items())
        elif isinstance(node, list):
            waiting.extend(((*path, index), child) for index, child in enumerate(node))


def resolve(value: Any, output_of: Callable[[str], Any]) -> Any:
    """Return `value` with each reference replaced; raises LookupError where a pointer leads nowhere."""
    if is_reference(value):
        return follow(output_of(value[FROM]), value.get(POINTER, ""))
    if isinstance(value, dict):
        return {name: resolve(child, output_of) for name, child in value.items()}
    if isinstance(value, list):
        return [resolve(child, output_of) for child in value]
    return value
