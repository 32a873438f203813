"""Reads a task's inputs: its attachments, unpacked in a private directory, and its context."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from orchestrator.models.task_contract import Attachment
from orchestrator.models.wording import count_of
from orchestrator.safety.archive import is_archive, unpack
from workers.arms.base import Assignment
from workers.arms.text_files import files_below, read_text
from workers.sandbox.cleanup import directory_prefix, remove
from workers.sandbox.limited import limited

CONTEXT_NAME = "(context)"
MAX_TEXTS_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class SourceText:
    """A text that can be cited by its name: an attached file or the context."""

    name: str
    text: str

    def lines(self) -> list[str]:
        """Return the lines as editors count them."""
        return [line.removesuffix("\r") for line in self.text.split("\n")]


def selected_attachments(assignment: Assignment) -> tuple[Attachment, ...]:
    """Return the attachments that the step's inputs name, or all; raises InvalidStepInput for an unknown one."""
    named = assignment.inputs.get("attachments")
    if "attachment" in assignment.inputs:
        named = [assignment.inputs["attachment"]]
    known = {attachment.sha256: attachment for attachment in assignment.attachments}
    for sha256 in named or ():
        if sha256 not in known:
            raise InvalidStepInput(
                f"{sha256[:64]!r} is neither an attachment of this task nor a file that an earlier step left: name "
                'one by {"$file": {"from": "step", "name": "file name"}}'
            )
    return (
        tuple(known[sha256] for sha256 in dict.fromkeys(named))
        if named is not None
        else tuple(known.values())
    )


def single_attachment(assignment: Assignment) -> Attachment:
    """Return the attachment that the step reads; raises InvalidStepInput unless it is exactly one."""
    attachments = selected_attachments(assignment)
    if len(attachments) != 1:
        raise InvalidStepInput(f"step {assignment.name} reads one attachment; there are {len(attachments)}")
    return attachments[0]


def two_attachments(assignment: Assignment) -> tuple[Attachment, Attachment]:
    """Return the two attachments that the step compares; raises InvalidStepInput unless there are exactly two."""
    attachments = selected_attachments(assignment)
    if len(attachments) != 2:
        raise InvalidStepInput(
            f"step {assignment.name} compares two attachments, and there are {len(attachments)}: name both, the older "
            "one first; files with the same content count once"
        )
    return attachments[0], attachments[1]


@contextmanager
def workspace(assignment: Assignment, attachments: Sequence[Attachment]) -> Iterator[Path]:
    """Give a private directory with the attachments unpacked in it; it is always removed at the end.

    The single outer directory of an archive is left out. A single attachment is at the top; of several, archives and
    files with the same name get directories of their own, named by `folders`.
    """
    scratch = Path(tempfile.mkdtemp(prefix=directory_prefix()))
    try:
        top = scratch / "work"
        top.mkdir()
        for index, folder in enumerate(folders(attachments)):
            assignment.checkpoint()
            staging = scratch / str(index)
            staging.mkdir()
            _write(assignment, attachments[index], staging)
            _move(_entered(staging), top / folder)
        yield top
    finally:
        remove(scratch)


def folders(attachments: Sequence[Attachment]) -> list[str]:
    """Return for each attachment the directory, below the top of a workspace, that its files lie in."""
    return [_folder(attachment, index, attachments) for index, attachment in enumerate(attachments)]


def paths_of(attachments: Sequence[Attachment]) -> list[str]:
    """Return for each attachment its path in a workspace: of an archive the directory that it is unpacked in."""
    names = ["." if is_archive(attachment.filename) else plain_name(attachment) for attachment in attachments]
    return [f"{folder}/{name}" for folder, name in zip(folders(attachments), names, strict=True)]


def plain_name(attachment: Attachment) -> str:
    """Return the name that the attachment has as a file: one part of a path, at most 200 bytes."""
    name = PurePosixPath(attachment.filename.replace("\\", "/").replace("\0", "")).name.encode()[:200]
    return name.decode("utf-8", "ignore") if name not in (b"", b"..") else "attachment"


def read_sources(assignment: Assignment) -> tuple[list[SourceText], list[dict[str, str]]]:
    """Return the task's texts, and {file, reason} of each file that is no text."""
    with workspace(assignment, selected_attachments(assignment)) as root:
        sources, skipped = texts_below(assignment, root)
    if assignment.context:
        sources.append(context_source(assignment))
    return sources, skipped


def texts_below(assignment: Assignment, root: Path) -> tuple[list[SourceText], list[dict[str, str]]]:
    """Return the texts below `root`, and {file, reason} of each file that is no text."""
    sources, skipped, size = [], [], 0
    for name, path in files_below(root):
        assignment.checkpoint()
        text = read_text(path)
        size += len(text) if isinstance(text, str) else 0
        if size > MAX_TEXTS_BYTES:
            skipped.append({"file": name, "reason": f"texts of more than {MAX_TEXTS_BYTES} bytes in all"})
        elif isinstance(text, str):
            sources.append(SourceText(name, text))
        else:
            skipped.append({"file": name, "reason": text.reason})
    return sources, skipped


def warnings_of(skipped: Sequence[Mapping[str, str]]) -> list[str]:
    """Return a warning about the files {file, reason} that are no text, if there are any."""
    if not skipped:
        return []
    return [f"{count_of(len(skipped), 'file')} not read: {skipped[0]['file']} is {skipped[0]['reason']}"]


def context_source(assignment: Assignment) -> SourceText:
    """Return the task's context as a text; no file can have its name."""
    return SourceText(CONTEXT_NAME, context_text(assignment.context or ""))


def context_text(context: dict[str, Any] | str) -> str:
    """Return the context as the text that is searched, scanned and quoted."""
    return context if isinstance(context, str) else json.dumps(context, indent=2, ensure_ascii=False)


def _write(assignment: Assignment, attachment: Attachment, place: Path) -> None:
    content = assignment.open_artifact(attachment.sha256)
    if is_archive(attachment.filename):
        limited(unpack, attachment.filename, checkpoint=assignment.checkpoint)(
            content, place, filename=attachment.filename
        )
    else:
        (place / plain_name(attachment)).write_bytes(content)


def _folder(attachment: Attachment, index: int, attachments: Sequence[Attachment]) -> str:
    name = plain_name(attachment)
    if sum(plain_name(other) == name for other in attachments) > 1:
        return f"{index + 1}-{name}"
    return name if len(attachments) > 1 and is_archive(name) else "."


def _move(directory: Path, place: Path) -> None:
    """Move the contents of a directory to `place`, which may have other files already."""
    place.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.rename(place / path.name)


def _entered(top: Path) -> Path:
    """Return the single outer directory of an archive, unless it is a package itself; else `top`."""
    inner = list(top.iterdir())
    if len(inner) == 1 and inner[0].is_dir() and not (inner[0] / "__init__.py").exists():
        return inner[0]
    return top
