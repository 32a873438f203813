"""Resolves references in a step's inputs to the outputs of other steps, and to the files that they left.

{"$from": step, "pointer": JSON pointer} is a part of that step's output. {"$file": {"from": step, "name": file name}}
is a file in it; the name may be left out if there is only one. {"$file": {"name": file name}} is an attachment of the
task: orchestrator.planner.plan_files puts its id in place of it when a plan is read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.produced_file import ProducedFile, files_in
from orchestrator.rules.json_pointer import follow, is_pointer

FROM = "$from"
POINTER = "pointer"
FILE = "$file"
MAX_RESOLVED_BYTES = 64 * 1024 * 1024
_MAX_NAMED = 10
_NODE_BYTES = 64
"""Approximate memory of an empty list or object, or of a short text or number in one."""


def is_reference(value: Any) -> bool:
    """Return whether `value` is a reference, well-formed or not."""
    return isinstance(value, dict) and (FROM in value or FILE in value)


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
    if set(reference) - {FROM, POINTER}:
        return f"a reference holds {FROM} and pointer only"
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
            meant = _meant(value, self._outputs)
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


def _meant(reference: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    step = step_of(reference)
    if step is None:
        raise InvalidStepInput("the inputs name an attachment that the task does not have")
    if step not in outputs:
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
