"""Resolves references in a step's inputs to the outputs of other steps, and to the files that they left.

{"$from": step, "pointer": JSON pointer} is a part of that step's output. {"$file": {"from": step, "name": file name}}
is a file in it; the name may be left out if there is only one. {"$file": {"name": file name}} is an attachment of the
task: orchestrator.planner.plan_files puts its id in place of it when a plan is read. With a member `default` a $from is
that value when the step was skipped. In a step with for_each {"$item": JSON pointer} is the item, or a part of it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.produced_file import ProducedFile, files_in
from orchestrator.rules.json_pointer import follow, is_pointer

FROM = "$from"
POINTER = "pointer"
FILE = "$file"
DEFAULT = "default"
ITEM = "$item"
MAX_RESOLVED_BYTES = 64 * 1024 * 1024
_MAX_NAMED = 10
_NODE_BYTES = 64
"""Approximate memory of an empty list or object, or of a short text or number in one."""
NO_ITEM: Final = object()
"""In place of the item of a step without for_each."""


def is_reference(value: Any) -> bool:
    """Return whether `value` is a reference, well-formed or not."""
    return isinstance(value, dict) and (FROM in value or FILE in value)


def is_item(value: Any) -> bool:
    """Return whether `value` stands for the item of a for_each, well-formed or not."""
    return isinstance(value, dict) and ITEM in value


def fault_of_item(value: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the form of a {"$item": pointer}, or None."""
    if set(value) != {ITEM} or not is_pointer(value[ITEM]):
        return 'must be {"$item": pointer}: "" is the whole item, "/member" a part of it'
    return None


def step_of(reference: Mapping[str, Any]) -> str | None:
    """Return the id of the step whose output a reference names; None for an attachment, or if it is malformed."""
    named = reference.get(FILE)
    step = named.get("from") if isinstance(named, dict) else reference.get(FROM)
    return step if isinstance(step, str) else None


def fault_of(reference: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a reference's form, or None."""
    if FILE in reference:
        return _file_fault(reference)
    if not isinstance(reference[FROM], str):
        return f"{FROM} must be the id of a step"
    if not is_pointer(reference.get(POINTER, "")):
        return "pointer must be a JSON pointer (RFC 6901): empty, or starting with '/'"
    if set(reference) - {FROM, POINTER, DEFAULT}:
        return f"a reference holds {FROM}, pointer and default only"
    return None


def _file_fault(reference: Mapping[str, Any]) -> str | None:
    named = reference[FILE]
    is_formed = isinstance(named, dict) and named and set(named) <= {"from", "name"}
    if not is_formed or not all(isinstance(text, str) and text for text in named.values()):
        return (
            f'{FILE} must be {{"from": "step", "name": "file name"}}, or {{"name": "..."}} of an attachment'
        )
    return None if set(reference) == {FILE} else f"a reference holds {FILE} only"


def references_in(value: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Yield (path, reference) for each reference at any depth of `value`."""
    return _found_in(value, is_reference)


def items_in(value: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Yield (path, value) for each {"$item": ...} at any depth of `value`."""
    return _found_in(value, is_item)


def sources_needed(value: Any) -> list[str]:
    """Return the steps without whose output `value` can't be resolved: those of references without a default."""
    found = [step_of(reference) for _, reference in references_in(value) if DEFAULT not in reference]
    return [step for step in found if step is not None]


def _found_in(
    value: Any, is_wanted: Callable[[Any], bool]
) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, node = waiting.pop()
        if is_wanted(node):
            yield path, node
        elif is_reference(node) or is_item(node):
            continue
        elif isinstance(node, dict):
            waiting.extend(((*path, name), child) for name, child in node.items())
        elif isinstance(node, list):
            waiting.extend(((*path, index), child) for index, child in enumerate(node))


def resolve(
    value: Any, outputs: Mapping[str, Any], *, item: Any = NO_ITEM, max_bytes: int = MAX_RESOLVED_BYTES
) -> Any:
    """Return `value` with each reference replaced by the part of `outputs` (by step), or of the item, that it names.

    What is put in is not searched for references: outputs and items are data. Each reference counts as a copy, because
    writing the value copies it. Raises InvalidStepInput when a step has no output and the reference no default, a
    pointer names no member, or all copies together take more than `max_bytes`.
    """
    return _Resolver(outputs, item, max_bytes).resolve(value)


class _Resolver:
    def __init__(self, outputs: Mapping[str, Any], item: Any, max_bytes: int) -> None:
        self._outputs = outputs
        self._item = item
        self._max_bytes = max_bytes
        self._left = max_bytes

    def resolve(self, value: Any) -> Any:
        if is_reference(value) or is_item(value):
            meant = _meant(value, self._outputs) if is_reference(value) else self._part_of_item(value)
            self._take(meant)
            return meant
        if isinstance(value, dict):
            return {name: self.resolve(child) for name, child in value.items()}
        if isinstance(value, list):
            return [self.resolve(child) for child in value]
        return value

    def _part_of_item(self, value: Mapping[str, Any]) -> Any:
        if self._item is NO_ITEM:
            return value
        try:
            return follow(self._item, value[ITEM])
        except LookupError as missing:
            raise InvalidStepInput(f"in the item {missing.args[0]}") from missing

    def _take(self, value: Any) -> None:
        """Subtract the memory of a copy from the room that is left; raises InvalidStepInput below zero."""
        waiting = [value]
        while waiting:
            node = waiting.pop()
            self._left -= _NODE_BYTES + (len(node) if isinstance(node, str) else 0)
            if self._left < 0:
                raise InvalidStepInput(
                    f"the values that the inputs refer to take more than {self._max_bytes} bytes in all: refer to "
                    "less of them, by a pointer, or fewer times"
                )
            if isinstance(node, dict):
                self._left -= sum(map(len, node)) + _NODE_BYTES * len(node)
                waiting.extend(node.values())
            elif isinstance(node, list):
                waiting.extend(node)


def _meant(reference: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    step = step_of(reference)
    if step is None:
        raise InvalidStepInput("the inputs name an attachment that the task does not have")
    if step not in outputs:
        if DEFAULT in reference:
            return reference[DEFAULT]
        raise InvalidStepInput(f"step {step}, which the inputs refer to, has no output")
    if FILE in reference:
        return _file_left(step, reference[FILE].get("name"), outputs[step]).to_record()
    try:
        return follow(outputs[step], reference.get(POINTER, ""))
    except LookupError as missing:
        raise InvalidStepInput(f"in the output of step {step} {missing.args[0]}") from missing


def _file_left(step: str, name: str | None, output: Any) -> ProducedFile:
    """Return the file of this name in an output, without a name the only one."""
    files = {file.artifact_id: file for file in reversed(list(files_in(output)))}
    found = [file for file in files.values() if name in (None, file.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted({repr(file.name[:80]) for file in files.values()})[:_MAX_NAMED]) or "none"
    wanted = "one file" if name is None else f"one file named {name[:200]!r}"
    raise InvalidStepInput(f"step {step} must leave {wanted}, and it left {len(found)}; its files: {names}")
