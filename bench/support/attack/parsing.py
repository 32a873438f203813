"""Attacks by small files that are expensive to unpack or parse."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Generator
from typing import Any, Final

from bench.support.attack.scene import Scene, ends

_REFUSED: Final = ("invalid_input", "patch_rejected", "tool_failed")
_READ: Final = ("completed", "validation_failed", *_REFUSED)
"""Accepted outcomes: parsed within the limits, or refused. A refused patch fails its plan's own criterion."""
_BOMB: Final = """
import codecs, pathlib, pytest

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    text = f'<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>'
    text += '<testsuites><testsuite><testcase name="&l9;"/></testsuite></testsuites>'
    pathlib.Path(config.option.xmlpath).write_bytes(codecs.BOM_UTF16_LE + text.encode("utf-16-le"))
"""


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return packed.getvalue()


def _described(header: bytes) -> bytes:
    """Return a tar.gz with one file, preceded by this pax header."""
    entry = tarfile.TarInfo("header")
    entry.type, entry.size = tarfile.XHDTYPE, len(header)
    padded = header + bytes(-len(header) % 512)
    return gzip.compress(
        entry.tobuf(tarfile.USTAR_FORMAT) + padded + tarfile.TarInfo("a").tobuf() + bytes(1024)
    )


def _attack(
    scene: Scene,
    content: bytes,
    filename: str,
    *,
    arm: str = "retriever",
    action: str = "inventory",
    inputs: dict[str, Any] | None = None,
    allowed: tuple[str, ...] = _READ,
    times: int = 2,
) -> Generator[None, None, str]:
    file = scene.greedy.upload(content, filename=filename)
    step = {"id": "a", "arm": arm, "action": action, "inputs": inputs or {}}
    begun = [scene.begin(step, attachments=[file]) for _ in range(times)]
    yield
    return f"{len(content):,} bytes; {ends(begun, allowed=allowed)}"


def tar_of_cve_2024_6232(scene: Scene) -> Generator[None, None, str]:
    """A tar of some hundred bytes with a pax header of digits, for which tarfile needs quadratic time."""
    return (yield from _attack(scene, _described(b"0" * 120_000), "evil.tar.gz", times=4))


def large_pax_header(scene: Scene) -> Generator[None, None, str]:
    """A pax header of 70 MB."""
    return (yield from _attack(scene, _described(b"0" * 70_000_000), "pax.tar.gz", allowed=_REFUSED))


def gzip_bomb(scene: Scene) -> Generator[None, None, str]:
    """200 MB of zeros in a tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as made:
        entry = tarfile.TarInfo("zeros")
        entry.size = 200_000_000
        made.addfile(entry, io.BytesIO(bytes(entry.size)))
    return (yield from _attack(scene, packed.getvalue(), "bomb.tar.gz", allowed=_REFUSED))


def python_source_of_a_huge_tree(scene: Scene) -> Generator[None, None, str]:
    """3 kB that unpack to a list of a million names, for which `ast` needs gigabytes."""
    content = zipped({"evil.py": b"[" + b"a," * 1_000_000 + b"]"})
    return (yield from _attack(scene, content, "evil.zip", arm="coder", action="metrics"))


def report_in_utf_16(scene: Scene) -> Generator[None, None, str]:
    """Tests that replace their own report by one in UTF-16 with an entity expansion."""
    content = zipped({"conftest.py": _BOMB.encode(), "test_a.py": b"def test_a():\n    pass\n"})
    return (yield from _attack(scene, content, "tests.zip", arm="executor", action="tests", times=1))


def patch_of_blank_lines(scene: Scene) -> Generator[None, None, str]:
    """30 kB and 190 kB of blank lines after a hunk."""
    file = scene.greedy.upload(zipped({"a": b"a\n"}), filename="a.zip")
    begun = []
    for count in (30_000, 190_000):
        patch = "--- a\n+++ a\n@@ -1 +1 @@\n-a\n+b\n" + "\n" * count + "diff"
        step = {"id": "a", "arm": "coder", "action": "apply", "inputs": {"patch": patch}}
        begun.append(scene.begin(step, attachments=[file]))
    yield
    return ends(begun, allowed=_READ)
