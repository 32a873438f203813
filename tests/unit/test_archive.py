"""Packing depends on content only; unpacking is bounded and writes nothing outside its directory."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from orchestrator.models.errors import InvalidInput, InvalidStepInput
from orchestrator.safety import archive
from orchestrator.safety.archive import pack, unpack


def tar_of(*entries: tarfile.TarInfo, content: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for entry in entries:
            entry.size = len(content) if entry.isreg() else 0
            made.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return packed.getvalue()


def zip_of(name: str, content: bytes = b"x", *, mode: int = stat.S_IFREG | 0o644) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        made.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def chain_of_headers(count: int, *, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a tar whose first file has `count` extended headers."""
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 6
    return (header.tobuf(tarfile.USTAR_FORMAT) + b"6 a=b\n".ljust(512, b"\0")) * count + bytes(1024)


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def tree(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


@pytest.fixture
def package(tmp_path: Path) -> Path:
    place = tmp_path / "package"
    (place / "inner").mkdir(parents=True)
    (place / "b.txt").write_text("b")
    (place / "inner" / "a.py").write_text("a = 1\n")
    return place


def test_the_same_content_gives_the_same_bytes_at_any_time_for_any_user(
    package: Path, tmp_path: Path
) -> None:
    first = pack(package)
    os.utime(package / "b.txt", (1, 1))
    (package / "inner" / "a.py").chmod(0o600)

    assert pack(package) == first
    # RFC 1952: bytes 4 to 7 are the time of packing
    assert first[4:8] == bytes(4)
    (package / "b.txt").write_text("c")
    assert pack(package) != first


def test_unpacking_restores_what_was_packed(package: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()

    unpack(pack(package), target, filename="package.tar.gz")

    assert tree(target) == tree(package)


def test_caches_and_repositories_are_left_out(package: Path) -> None:
    before = pack(package)
    for name in (".git", "__pycache__", ".venv"):
        (package / name).mkdir()
        (package / name / "file").write_text("x")
    (package / "b.pyc").write_bytes(b"x")

    assert pack(package) == before


def test_a_link_is_not_packed(package: Path) -> None:
    (package / "link").symlink_to("/etc/passwd")

    with pytest.raises(InvalidInput, match="link"):
        pack(package)


def test_an_empty_directory_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no files"):
        pack(tmp_path)


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (tar_of(tarfile.TarInfo("../evil")), "a.tar.gz"),
        (tar_of(tarfile.TarInfo("/evil")), "a.tgz"),
        (tar_of(tarfile.TarInfo("a/../../evil")), "a.tar.gz"),
        (tar_of(tarfile.TarInfo("a\\evil")), "a.tar.gz"),
        (tar_of(tarfile.TarInfo("/".join("d" * 40))), "a.tar.gz"),
        (tar_of(link("evil", "/etc/passwd", tarfile.SYMTYPE)), "a.tar.gz"),
        (tar_of(tarfile.TarInfo("a"), link("evil", "a", tarfile.LNKTYPE)), "a.tar.gz"),
        (tar_of(link("evil", "", tarfile.FIFOTYPE)), "a.tar.gz"),
        (tar_of(tarfile.TarInfo("evil"), tarfile.TarInfo("evil")), "a.tar.gz"),
        (zip_of("../evil"), "a.zip"),
        (zip_of("/evil"), "a.whl"),
        (zip_of("evil", b"/etc/passwd", mode=stat.S_IFLNK | 0o777), "a.zip"),
        (b"not an archive", "a.tar.gz"),
        (b"not an archive", "a.zip"),
        (gzip.compress(b"not a tar either" * 100), "a.tgz"),
        (tar_of(tarfile.TarInfo("a"))[:-20], "a.tar.gz"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 64, "a.tar.gz"),
        # what zipfile and tarfile raise: NotImplementedError, IndexError, UnicodeDecodeError, RecursionError
        (zip_of("evil").replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff"), "a.zip"),
        (zip_of(""), "a.zip"),
        (zip_of("\xe9vil").replace("\xe9".encode(), b"\xff\xff"), "a.zip"),
        (chain_of_headers(2000), "a.tar"),
        (chain_of_headers(2000, kind=tarfile.GNUTYPE_LONGNAME), "a.tar"),
    ],
)
def test_a_malicious_archive_is_refused_and_writes_nothing_outside(
    content: bytes, filename: str, tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)

    with pytest.raises(InvalidStepInput):
        unpack(content, target, filename=filename)

    outside = [path for path in tmp_path.rglob("evil") if not path.is_relative_to(target)]
    assert not outside
    assert not [path for path in target.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_that_unpacks_to_too_many_bytes_is_stopped(kind: str, tmp_path: Path) -> None:
    swollen = bytes(archive.MAX_UNPACKED_BYTES + 1)
    content = tar_of(tarfile.TarInfo("a"), content=swollen) if kind == "tar.gz" else zip_of("a", swollen)

    with pytest.raises(InvalidStepInput, match="more than"):
        unpack(content, tmp_path, filename=f"a.{kind}")

    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) <= archive.MAX_UNPACKED_BYTES


def test_a_header_that_claims_gigabytes_is_not_followed(tmp_path: Path) -> None:
    header = tarfile.TarInfo("PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 8 * 1024**3
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(archive.MAX_UNPACKED_BYTES * 2))

    with pytest.raises(InvalidStepInput):
        unpack(content, tmp_path, filename="a.tar.gz")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_an_archive_of_too_many_files_is_stopped(kind: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as made:
            for number in range(archive.MAX_FILES + 1):
                made.writestr(f"{number}", b"")
        content = packed.getvalue()
    else:
        content = tar_of(
            *(tarfile.TarInfo(f"{number}") for number in range(archive.MAX_FILES + 1)), content=b""
        )

    with pytest.raises(InvalidStepInput, match="more than 5000 files"):
        unpack(content, tmp_path, filename=f"a.{kind}")


def test_a_duplicate_name_is_reported(tmp_path: Path) -> None:
    content = tar_of(tarfile.TarInfo("a.txt"), tarfile.TarInfo("a.txt"))

    with pytest.raises(InvalidStepInput, match=r"contains 'a\.txt' twice"):
        unpack(content, tmp_path, filename="a.tar")


def test_a_name_that_is_not_utf_8_is_converted(tmp_path: Path) -> None:
    unpack(tar_of(tarfile.TarInfo("caf\udce9.txt")), tmp_path, filename="a.tar")

    assert tree(tmp_path) == {"caf\ufffd.txt": b"x"}
