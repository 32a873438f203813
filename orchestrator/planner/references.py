"""Resolves references in a step's inputs: {"$from": step, "pointer": JSON pointer} is a part of that step's output."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.rules.json_pointer import follow, is_pointer

FROM = "$from"
POINTER = "pointer"
MAX_RESOLVED_BYTES = 64 * 1024 * 1024
_NODE_BYTES = 64
"""Approximate memory of an empty list or object, or of a short text or number in one."""


def is_reference(value: Any) -> bool:
    """Return whether `value` is a reference, well-formed or not."""
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


def resolve(value: Any, outputs: Mapping[str, Any]) -> Any:
    """Return `value` with each reference replaced by the part of `outputs` (by step) that it names.

    Each reference counts as a copy, because writing the value copies it. Raises InvalidStepInput when a step has no
    output, a pointer names no member, or all copies together take more than MAX_RESOLVED_BYTES.
    """
    return _Resolver(outputs).resolve(value)


class _Resolver:
    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self._outputs = outputs
        self._left = MAX_RESOLVED_BYTES

    def resolve(self, value: Any) -> Any:
        if is_reference(value):
            meant = _meant(value[FROM], value.get(POINTER, ""), self._outputs)
            self._take(meant)
            return meant
        if isinstance(value, dict):
            return {name: self.resolve(child) for name, child in value.items()}
        if isinstance(value, list):
            return [self.resolve(child) for child in value]
        return value

    def _take(self, value: Any) -> None:
        """Subtract the memory of a copy from the room that is left; raises InvalidStepInput below zero."""
        waiting = [value]
        while waiting:
            node = waiting.pop()
            self._left -= _NODE_BYTES + (len(node) if isinstance(node, str) else 0)
            if self._left < 0:
                raise InvalidStepInput(
                    f"the values that the inputs refer to take more than {MAX_RESOLVED_BYTES} bytes in all: refer to "
                    "less of them, by a pointer, or fewer times"
                )
            if isinstance(node, dict):
                self._left -= sum(map(len, node)) + _NODE_BYTES * len(node)
                waiting.extend(node.values())
            elif isinstance(node, list):
                waiting.extend(node)


def _meant(step: str, pointer: str, outputs: Mapping[str, Any]) -> Any:
    if step not in outputs:
        raise InvalidStepInput(f"step {step}, which the inputs refer to, has no output")
    try:
        return follow(outputs[step], pointer)
    except LookupError as missing:
        raise InvalidStepInput(f"in the output of step {step} {missing.args[0]}") from missing
