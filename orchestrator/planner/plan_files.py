"""Files in the inputs of steps: attachments that a plan calls by name, and files that earlier steps left.

A place of a file is an input whose schema has the pattern of an artifact's id, such as `attachment`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.models.plan import PlanStep
from orchestrator.models.produced_file import ARTIFACT_PATTERN, ProducedFile, file_of, files_in, is_file_id
from orchestrator.models.task_contract import Attachment
from orchestrator.planner.plain_schema import plain_schema
from orchestrator.planner.references import (
    FILE,
    NO_ITEM,
    is_reference,
    items_in,
    references_in,
    resolve,
    step_of,
)
from orchestrator.planner.schema_places import choices_of, schemas_at

FILE_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "artifact_id": {"type": "string", "pattern": ARTIFACT_PATTERN},
        "media_type": {"type": "string"},
        "size_bytes": {"type": "integer"},
    },
    "required": ["name", "artifact_id", "media_type", "size_bytes"],
    "additionalProperties": False,
}
"""The type `file` of registry/types.toml."""
_MAX_NAMED = 10
_MAX_PARTS = 2_000
_Path = tuple[str | int, ...]


class AttachmentNames:
    """The attachments of a task by their file names."""

    def __init__(self, attachments: Sequence[Attachment] = ()) -> None:
        self._ids: dict[str, list[str]] = {}
        for item in attachments:
            if item.filename and item.sha256 not in self._ids.setdefault(item.filename, []):
                self._ids[item.filename].append(item.sha256)

    def __bool__(self) -> bool:
        return bool(self._ids)

    def id_of(self, name: str) -> str | None:
        """Return the id of the only attachment of this name; None if none or several have it."""
        ids = self._ids.get(name, [])
        return ids[0] if len(ids) == 1 else None

    def fault_of(self, name: str) -> str:
        """Return why `id_of` finds none."""
        if name in self._ids:
            return f"several attachments have the name {name[:200]!r}: name one by its id"
        known = ", ".join(repr(other[:80]) for other in [*self._ids][:_MAX_NAMED]) or "none"
        return f"the task has no attachment {name[:200]!r}; its attachments: {known}"


def with_ids(
    inputs: Mapping[str, Any], schema: Mapping[str, Any] | None, names: AttachmentNames
) -> tuple[dict[str, Any], list[tuple[_Path, str]]]:
    """Return a step's inputs with ids in place of names of attachments, and (path, fault) of each wrong name.

    {"$file": {"name": ...}} is a name anywhere, a plain text at a place of a file by `schema`, the action's input.
    """
    reader = _NameReader(names)
    is_named = any(step_of(reference) is None for _, reference in references_in(inputs))
    written: dict[str, Any] = reader.without_names(dict(inputs), ()) if is_named else dict(inputs)
    members = plain_schema(schema).get("properties", {}) if schema and names else {}
    for name, value in written.items():
        kind = place_of([members.get(name, {})])
        if kind == "file":
            written[name] = reader.called(value, (name,))
        elif kind == "files" and isinstance(value, list):
            written[name] = [reader.called(item, (name, index)) for index, item in enumerate(value)]
    return written, reader.faults


class _NameReader:
    """Puts ids in place of names; `faults` are (path, message) of those that no attachment has alone."""

    def __init__(self, names: AttachmentNames) -> None:
        self.faults: list[tuple[_Path, str]] = []
        self._names = names

    def called(self, value: Any, path: _Path) -> Any:
        """Return the id of the attachment that a text calls; an id, and anything else, as it is.

        A wrong name becomes the reference that it stands for: no other check has anything to say about it.
        """
        if not isinstance(value, str) or is_file_id(value):
            return value
        return self._id_of(value, path) or {FILE: {"name": value}}

    def without_names(self, value: Any, path: _Path) -> Any:
        """Return a value with ids in place of {"$file": {"name": ...}} at any depth."""
        if is_reference(value):
            named = value.get(FILE)
            is_name = (
                step_of(value) is None and isinstance(named, dict) and isinstance(named.get("name"), str)
            )
            return (self._id_of(named["name"], path) or value) if is_name else value
        if isinstance(value, dict):
            return {name: self.without_names(child, (*path, name)) for name, child in value.items()}
        if isinstance(value, list):
            return [self.without_names(child, (*path, index)) for index, child in enumerate(value)]
        return value

    def _id_of(self, name: str, path: _Path) -> str | None:
        found = self._names.id_of(name)
        if found is None:
            self.faults.append((path, self._names.fault_of(name)))
        return found


def plan_with_ids(record: Mapping[str, Any], steps: Sequence[PlanStep]) -> dict[str, Any]:
    """Return a client's plan, as it was sent, with the ids by which its `steps`, once checked, call attachments.

    A file that is stored again may get another name. Until its task is planned, a plan must not change its meaning.
    """
    known = {step.id: step for step in steps}

    def read(item: Mapping[str, Any]) -> dict[str, Any]:
        step = known.get(item.get("id", ""))
        members = [name for name in ("inputs", "repair_inputs") if step and item.get(name)]
        return {**item, **{name: getattr(step, name) for name in members}}

    return {**record, "steps": [read(item) for item in record["steps"]]}


def place_of(wanted: Sequence[Mapping[str, Any]]) -> str:
    """Return what an input of one of these plain schemas holds: `file`, `files`, or `other`."""
    choices = [choice for one in wanted for choice in choices_of(one)]
    if any(choice.get("pattern") == ARTIFACT_PATTERN for choice in choices):
        return "file"
    items = [choice["items"] for choice in choices if isinstance(choice.get("items"), Mapping)]
    return "files" if any(one.get("pattern") == ARTIFACT_PATTERN for one in items) else "other"


def may_hold_files(schemas: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a value of one of these plain schemas may be or have a file, as far as _MAX_PARTS parts tell."""
    waiting: list[Any] = list(schemas)
    for _ in range(_MAX_PARTS):
        if not waiting:
            return False
        schema = waiting.pop()
        if not isinstance(schema, Mapping):
            continue
        members = schema.get("properties", {})
        is_open = not schema.keys() & {"type", "enum", "const", "anyOf"} or (
            schema.get("type") == "object" and schema.get("additionalProperties", True) is not False
        )
        if is_open or "artifact_id" in members or schema.get("pattern") == ARTIFACT_PATTERN:
            return True
        waiting += [*schema.get("anyOf", ()), *members.values(), schema.get("items")]
    return True


@dataclass(frozen=True)
class BoundInputs:
    """Inputs without references; `files` are those of earlier steps that stand at places of files, as ids."""

    inputs: dict[str, Any]
    files: tuple[ProducedFile, ...] = ()


def bind(spec: Mapping[str, Any], outputs: Mapping[str, Any], schema: Mapping[str, Any]) -> BoundInputs:
    """Resolve the references in the inputs of a row's spec to the outputs of other steps, by name, and to its item.

    `schema` is that of the action's input: at a place of a file, a file becomes its id. Only a file that stands in the
    output that the reference names, or in that from which the item was taken, counts as one. Raises InvalidStepInput as
    `resolve` does.
    """
    inputs = spec["inputs"]
    bound: dict[str, Any] = resolve(inputs, outputs, item=spec.get("item", NO_ITEM))
    files: dict[str, ProducedFile] = {}
    places = [(path, step_of(reference)) for path, reference in references_in(inputs)]
    if "item" in spec:
        places += [(path, spec.get("item_of")) for path, _ in items_in(inputs)]
    for path, source in places:
        kind = place_of(schemas_at(schema, [str(part) for part in path]))
        if kind == "other":
            continue
        left = {file.artifact_id: file for file in files_in(outputs.get(source or ""))}
        holder: Any = bound
        for part in path[:-1]:
            holder = holder[part]
        value = holder[path[-1]]
        found = list(_ids_at(value if kind == "files" and isinstance(value, list) else [value]))
        if not all(found):
            continue
        files |= {one: left[one] for one in found if one in left}
        holder[path[-1]] = found if kind == "files" and isinstance(value, list) else found[0]
    return BoundInputs(bound, tuple(files.values()))


def _ids_at(values: Sequence[Any]) -> Iterator[str | None]:
    """Yield for each value the id that it is or that its file has; None for anything else."""
    for value in values:
        file = file_of(value)
        yield file.artifact_id if file else value if isinstance(value, str) else None
