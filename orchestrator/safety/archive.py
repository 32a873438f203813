"""Packs directories reproducibly, and unpacks untrusted archives safely."""

import gzip
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from orchestrator.models.errors import InvalidInput, InvalidStepInput

MAX_FILES = 5_000
MAX_UNPACKED_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 32
MAX_DESCRIPTION_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
_DESCRIPTIONS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)
"""Header entries that describe the next entry; tarfile reads each one into memory as a whole."""
_LEFT_OUT = frozenset(
    {"__pycache__", "node_modules", "build", "dist", ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox",
     ".octollm", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis", ".eggs"}
)  # fmt: skip
# tarfile decodes bytes that are not UTF-8 as lone surrogates, which neither JSON nor Postgres can store
_SURROGATES = re.compile("[\ud800-\udfff]")
_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip", ".whl")


def pack(directory: Path, *, below: str = "", leaves_out: frozenset[str] = _LEFT_OUT) -> bytes:
    """Return the regular files under `directory` as a tar.gz: sorted, without times and owners.

    Their paths begin with the directory `below`. Files and directories with a name in `leaves_out`, by default caches
    and what is built, and compiled ones, are left out. Equal content gives equal bytes (with the same zlib), and so one
    sha256. Raises InvalidInput if there is nothing to pack or a file is a link.
    """
    found = _members(directory, PurePosixPath(below), leaves_out)
    members = sorted(found, key=lambda member: member[0])
    if not members:
        raise InvalidInput(f"{directory} contains no files to pack")
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in members:
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def is_archive(filename: str) -> bool:
    """Return whether a file of this name is an archive, which is unpacked before it is read."""
    return filename.lower().endswith(_ARCHIVE_SUFFIXES)


def unpack(content: bytes, into: Path, *, filename: str) -> None:
    """Write an archive's regular files under the empty directory `into`.

    Raises InvalidStepInput for unreadable archives, links, devices, paths outside `into`, and more than MAX_FILES files
    or MAX_UNPACKED_BYTES bytes; files written before the error stay.
    """
    try:
        if filename.lower().endswith((".zip", ".whl")):
            _unpack_zip(content, into)
        else:
            _unpack_tar(content, into)
    except (InvalidStepInput, MemoryError):
        raise
    except gzip.BadGzipFile as fault:
        raise InvalidStepInput(f"{filename} is not a readable archive") from fault
    except OSError as fault:
        raise InvalidStepInput(f"{filename} can't be unpacked: {fault.strerror or 'unreadable'}") from fault
    except Exception as fault:
        # damaged headers make zipfile and tarfile raise almost anything: IndexError, NotImplementedError,
        # RecursionError, struct.error, zlib.error ...
        raise InvalidStepInput(f"{filename} is not a readable archive") from fault


def _members(directory: Path, below: PurePosixPath, leaves_out: frozenset[str]) -> Iterator[tuple[str, Path]]:
    for path in directory.iterdir():
        name = below / path.name
        if path.name in leaves_out or path.name.endswith((".pyc", ".egg-info")):
            continue
        if path.is_symlink():
            raise InvalidInput(f"{path} is a link: replace it by its target, or remove it")
        if path.is_dir():
            yield from _members(path, name, leaves_out)
        elif path.is_file():
            yield str(name), path


class _Writer:
    """Writes files below one directory, and counts files and bytes."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self._files = 0
        self._bytes = 0
        self._names: set[PurePosixPath] = set()

    def write(self, name: str, source: IO[bytes]) -> None:
        self._files += 1
        if self._files > MAX_FILES:
            raise InvalidStepInput(f"the archive contains more than {MAX_FILES} files")
        safe = _safe(name)
        path = self._into / safe
        path.parent.mkdir(parents=True, exist_ok=True)
        if safe in self._names:
            # readers disagree about which of the two counts
            raise InvalidStepInput(f"the archive contains {str(safe)[:80]!r} twice: remove the duplicate")
        self._names.add(safe)
        with path.open("xb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                self._bytes += len(chunk)
                if self._bytes > MAX_UNPACKED_BYTES:
                    raise InvalidStepInput(f"the archive contains more than {MAX_UNPACKED_BYTES} bytes")
                target.write(chunk)


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(_SURROGATES.sub("\ufffd", name))
    outside = path.is_absolute() or ".." in path.parts or not path.parts
    if outside or "\\" in name or "\0" in name or len(path.parts) > MAX_DEPTH:
        raise InvalidStepInput(f"the archive contains a path that is not allowed: {name[:80]!r}")
    return path


class _Bounded(io.RawIOBase):
    """Reads at most `limit` bytes; tarfile alone would read as much as a header claims."""

    def __init__(self, source: gzip.GzipFile | io.BytesIO, limit: int) -> None:
        self._source = source
        self._left = limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(self._left + 1 if size < 0 else min(size, self._left + 1))
        self._left -= len(chunk)
        if self._left < 0:
            raise InvalidStepInput(f"the archive contains more than {MAX_UNPACKED_BYTES} bytes")
        return chunk


class _Entry(tarfile.TarInfo):
    """An entry of an untrusted archive; rejects a header entry that is too long before it is read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Entry":
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _DESCRIPTIONS and entry.size > MAX_DESCRIPTION_BYTES:
            raise InvalidStepInput(
                f"the archive contains a header of more than {MAX_DESCRIPTION_BYTES} bytes"
            )
        return entry


def _unpack_tar(content: bytes, into: Path) -> None:
    zipped = content[:2] == b"\x1f\x8b"
    source: gzip.GzipFile | io.BytesIO = io.BytesIO(content)
    if zipped:
        source = gzip.GzipFile(fileobj=source)
    bounded = _Bounded(source, MAX_UNPACKED_BYTES + MAX_FILES * 2048)
    writer = _Writer(into)
    with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Entry) as archive:
        for number, entry in enumerate(archive):
            if number > 2 * MAX_FILES:
                raise InvalidStepInput(f"the archive contains more than {2 * MAX_FILES} entries")
            if entry.isdir():
                continue
            file = archive.extractfile(entry) if entry.isfile() else None
            if file is None:
                raise InvalidStepInput(f"the archive contains a link or device: {entry.name[:80]!r}")
            writer.write(entry.name, file)


def _unpack_zip(content: bytes, into: Path) -> None:
    # each entry of the central directory starts with this signature: reject before zipfile reads them all
    if content.count(b"PK\x01\x02") > 2 * MAX_FILES:
        raise InvalidStepInput(f"the archive contains more than {2 * MAX_FILES} entries")
    writer = _Writer(into)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise InvalidStepInput(f"the archive contains a link or device: {entry.filename[:80]!r}")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InvalidStepInput(
                    f"encrypted, or compressed with an unsupported method: {entry.filename[:80]!r}"
                )
            with archive.open(entry) as file:
                writer.write(entry.filename, file)
