"""Files of the caller: what is uploaded, and where downloads go."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from octollm_client import _calls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from octollm_client._call import Call

    Source = bytes | str | os.PathLike[str]
    """Bytes, or the path of a file."""

_CHUNK_BYTES = 65_536


class Target(NamedTuple):
    """An open file, and the path that it has in the end."""

    path: Path
    file: IO[bytes]


def upload_call(source: Source, *, filename: str | None, media_type: str | None) -> Call:
    """Return the call that stores a file. Raises FileNotFoundError, IsADirectoryError."""
    content = source if isinstance(source, bytes) else Path(source)
    if isinstance(content, Path):
        if content.is_dir():
            raise IsADirectoryError(f"{content} is a directory: upload its files, or an archive of it")
        if not content.is_file():
            raise FileNotFoundError(f"{content} is no file")
        filename = content.name if filename is None else filename
    return _calls.FILES_STORE.given(
        query={"filename": filename or None},
        content=content,
        content_type=media_type or _media_type(filename or ""),
    )


def _media_type(filename: str) -> str:
    import mimetypes  # noqa: PLC0415 - it reads the system's tables; only uploads need them

    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


@contextmanager
def content_of(content: bytes | Path | None) -> Iterator[bytes | IO[bytes] | None]:
    """Open the file for one request, which reads it from its begin."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            yield file
    else:
        yield content


async def pieces_of(content: Path) -> AsyncIterator[bytes]:
    """Yield the file's content in pieces that take no time to read."""
    with content.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Target]:
    """Write a file beside `path`, which takes its place at the end of the block, or is removed after an error."""
    final = Path(path)
    part = final.with_name(f".{final.name}.{os.urandom(6).hex()}.part")
    try:
        with part.open("xb") as file:
            yield Target(final, file)
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_file(folder: str | os.PathLike[str], name: str) -> Iterator[Target]:
    """Make a new file in a folder, which is made too; a number is added to a name that is taken.

    `name` is a server's: it can't lead out of the folder, or hide the file. After an error the file is removed.
    """
    directory = Path(folder)
    directory.mkdir(parents=True, exist_ok=True)
    plain = Path(name.replace("\\", "/").replace("\0", "")).name.lstrip(".") or "file"
    stem, suffix = Path(plain).stem, Path(plain).suffix
    for number in itertools.count(1):
        path = directory / (plain if number == 1 else f"{stem}-{number}{suffix}")
        try:
            file = path.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                yield Target(path, file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return
