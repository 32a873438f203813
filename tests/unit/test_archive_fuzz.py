"""Mutated archives are unpacked or refused with a message, and have no other effect."""

import gzip
import io
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.models.errors import InvalidStepInput
from orchestrator.safety.archive import unpack

Mutation = Callable[[bytes], bytes]

_NAMES = ("a.txt", "folder/b.py", "é.txt", "long/" * 20 + "x" * 60)


def _zip(compression: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as made:
        made.comment = b"a comment"
        for name in _NAMES:
            made.writestr(name, name * 5)
        with made.open("zip64.txt", "w", force_zip64=True) as entry:
            entry.write(b"content")
    return packed.getvalue()


def _tar(form: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as made:
        for name in _NAMES:
            entry = tarfile.TarInfo(name)
            entry.size = len(name.encode())
            if form == tarfile.PAX_FORMAT:
                entry.pax_headers = {"comment": "é" * 50, "mtime": "1.5"}
            made.addfile(entry, io.BytesIO(name.encode()))
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
    return packed.getvalue()


_ZIPS = [_zip(zipfile.ZIP_STORED), _zip(zipfile.ZIP_DEFLATED)]
_TARS = [_tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]

# a zip's records begin with PK, a tar's headers have ustar at 257
_HEADER = re.compile(rb"PK[\x01-\x08][\x01-\x08]|(?=.{257}ustar)", re.DOTALL)

_PLACE = st.floats(0, 1, exclude_max=True)
# what fields of archives do not expect
_BYTES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff" * 8, b"-1", b"77777777777", b"\x80" + b"\xff" * 11, b"\0" * 512]),
    st.sampled_from([b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"\x01\0\x10\0", b" 9999 path=x\n"]),
)  # fmt: skip


def _overwrite(place: float, new: bytes) -> Mutation:
    return lambda raw: raw[: int(place * len(raw))] + new + raw[int(place * len(raw)) + len(new) :]


def _insert(place: float, new: bytes) -> Mutation:
    return lambda raw: raw[: int(place * len(raw))] + new + raw[int(place * len(raw)) :]


def _in_header(number: float, offset: int, new: bytes) -> Mutation:
    """Overwrite a field of one of the archive's headers."""

    def mutate(raw: bytes) -> bytes:
        starts = [found.start() for found in _HEADER.finditer(raw)] or [0]
        at = starts[int(number * len(starts))] + offset
        return raw[:at] + new + raw[at + len(new) :]

    return mutate


def _cut_out(start: float, size: float) -> Mutation:
    return lambda raw: raw[: int(start * len(raw))] + raw[int((start + size) * len(raw)) :]


_MUTATIONS = st.lists(
    st.one_of(
        st.builds(_overwrite, _PLACE, _BYTES),
        st.builds(_in_header, _PLACE, st.integers(4, 48), _BYTES),
        st.builds(_in_header, _PLACE, st.integers(100, 160), _BYTES),
        st.builds(_insert, _PLACE, _BYTES),
        st.builds(_cut_out, _PLACE, _PLACE),
    ),
    min_size=1,
    max_size=6,
)


def _mutated(raw: bytes, mutations: list[Mutation]) -> bytes:
    for mutate in mutations:
        raw = mutate(raw)
    return raw


def _unpack_or_refuse(content: bytes, filename: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "deep" / "place"
        place.mkdir(parents=True)
        try:
            unpack(content, place, filename=filename)
        except InvalidStepInput as refusal:
            str(refusal).encode()
        written = [path for path in Path(folder).rglob("*") if path.is_file()]
    for path in written:
        assert path.is_relative_to(place)
        str(path).encode()


@given(raw=st.sampled_from(_ZIPS), mutations=_MUTATIONS)
@settings(max_examples=150, deadline=None)
def test_a_mutated_zip_is_unpacked_or_refused(raw: bytes, mutations: list[Mutation]) -> None:
    _unpack_or_refuse(_mutated(raw, mutations), "a.zip")


@given(raw=st.sampled_from(_TARS), mutations=_MUTATIONS)
@settings(max_examples=150, deadline=None)
def test_a_mutated_tar_is_unpacked_or_refused(raw: bytes, mutations: list[Mutation]) -> None:
    content = _mutated(raw, mutations)

    _unpack_or_refuse(content, "a.tar")
    _unpack_or_refuse(gzip.compress(content, 1), "a.tar.gz")


@given(raw=st.sampled_from(_TARS), mutations=_MUTATIONS)
@settings(max_examples=60, deadline=None)
def test_a_mutated_gzip_is_unpacked_or_refused(raw: bytes, mutations: list[Mutation]) -> None:
    _unpack_or_refuse(_mutated(gzip.compress(raw, 1), mutations), "a.tgz")
