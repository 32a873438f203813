"""Small files made to be expensive: each is refused with a message or read within the limits of a child."""

import contextlib
import gzip
import io
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from orchestrator import safety
from orchestrator.models.errors import InvalidStepInput, PatchRejected
from orchestrator.safety import archive
from tests.unit.arm_kit import assignment, run
from workers.arms.reports import parse_test_report, read_test_report
from workers.arms.retriever import MAX_PASSAGES, all_passages_of, passages_of
from workers.arms.sources import SourceText
from workers.arms.text_files import MAX_CHARACTERS_HERE, redact_text, scan_text
from workers.arms.unified_diff import parse_patch, patch_files


def described(header: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Return a tar.gz whose one file has this header in front of it."""
    entry = tarfile.TarInfo("header")
    entry.type, entry.size = kind, len(header)
    padded = header + bytes(-len(header) % 512)
    return gzip.compress(
        entry.tobuf(tarfile.USTAR_FORMAT) + padded + tarfile.TarInfo("a").tobuf() + bytes(1024)
    )


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_more_than_64_kib_is_refused_before_it_is_read(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidStepInput, match="header of more than 65536 bytes"):
        archive.unpack(described(b"0" * 70_000, kind), tmp_path, filename="evil.tar.gz")


@pytest.mark.parametrize("digits", [30_000, 120_000])
def test_a_tar_of_some_hundred_bytes_costs_its_worker_nothing(digits: int) -> None:
    # CVE-2024-6232: the time that tarfile takes grows with the square of the digits
    evil = described(b"0" * digits)
    assert len(evil) < 400
    before = time.thread_time()

    with contextlib.suppress(InvalidStepInput):
        run(assignment("retriever", "inventory", files={"evil.tar.gz": evil}))

    assert time.thread_time() - before < 0.5


def test_a_zip_of_gigabytes_is_refused_at_the_limit_of_unpacked_bytes() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for number in range(5):
            made.writestr(f"{number}.txt", bytes(16 * 1024 * 1024))

    with pytest.raises(InvalidStepInput, match="more than 67108864 bytes"):
        run(assignment("retriever", "inventory", files={"evil.zip": packed.getvalue()}))


def test_a_python_file_with_a_syntax_tree_of_gigabytes_is_an_error_of_that_file() -> None:
    # 500 kB that Python's parser makes more than 512 MiB of
    evil = b"[" + b"a," * 1_000_000 + b"]"
    files = {"code.zip": _zipped({"good.py": b"a = 1\n", "evil.py": evil})}

    output = run(assignment("coder", "metrics", files=files)).output

    assert (output["files"], output["unparsed"]) == (2, ["evil.py"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7"])
def test_a_report_in_another_encoding_hides_no_document_type(encoding: str) -> None:
    bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x><testcase name="&a;"/></x>'

    assert parse_test_report(bomb.encode(encoding), []) is None


def test_a_report_that_names_another_encoding_than_utf_8_is_read_as_utf_8() -> None:
    report = '<?xml version="1.0" encoding="utf-16"?><x><testcase name="é"/></x>'.encode()

    read = parse_test_report(report, [])

    assert read is not None
    assert read["passed"] == 1


def test_a_report_of_a_million_cases_gives_counts_and_not_a_million_failures() -> None:
    evil = b"<x>" + b"<testcase><error/></testcase>" * 100_000 + b"</x>"

    report = read_test_report(evil)

    assert report is not None
    assert (report.errors, len(report.failures)) == (100_000, 10_000)


@pytest.mark.parametrize(
    "body",
    [
        "@@ -1 +1 @@\n-a\n+b\n" + "\n" * 190_000 + "diff",
        "@@ -1 +1 @@\n-a\n+b" + "\n" * 190_000 + "x",
        ("@@ -1 +1 @@\n-a\n+b\n" + "\n" * 50) * 400,
    ],
)
def test_a_patch_of_blank_lines_takes_linear_time(body: str) -> None:
    before = time.process_time()

    with contextlib.suppress(PatchRejected):
        parse_patch(f"--- a\n+++ b\n{body}")

    assert time.process_time() - before < 10


def test_a_hunk_of_equal_lines_is_found_in_linear_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("\n" * 300_000 + "x\n")
    hunk = "@@ -1 +1 @@\n" + " \n" * 50_000 + "-y\n+z\n"
    before = time.process_time()

    with pytest.raises(PatchRejected, match="does not fit"):
        patch_files(f"--- a\n+++ a\n{hunk}", tmp_path)

    assert time.process_time() - before < 10


def test_a_text_of_short_paragraphs_gives_at_most_the_kept_passages() -> None:
    sources = [SourceText(name, "a\n\n" * (MAX_PASSAGES // 2 + 1)) for name in ("a.txt", "b.txt")]

    with pytest.raises(InvalidStepInput, match=rf"evil\.zip has more than {MAX_PASSAGES} paragraphs"):
        all_passages_of(sources, "evil.zip")


def test_one_line_of_two_megabytes_is_split_in_linear_time() -> None:
    before = time.process_time()

    passages = list(passages_of(SourceText("a.txt", "é" * 2_000_000)))

    assert passages[-1].first_byte == 2 * 1_998_000
    assert time.process_time() - before < 5


def test_a_long_text_is_scanned_in_a_child_with_the_same_findings() -> None:
    text = "Mail jo@example.org, card 4111 1111 1111 1111, é. " * 400
    assert len(text) > MAX_CHARACTERS_HERE
    before = time.thread_time()

    found = scan_text(text, "a.txt", checkpoint=lambda: None)
    redacted = redact_text(text, "a.txt", checkpoint=lambda: None)

    assert time.thread_time() - before < 0.5
    assert found == safety.scan(text)
    assert redacted == safety.redact(text)


def _zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return packed.getvalue()
