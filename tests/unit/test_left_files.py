"""What a tool says about the files that it left is checked: it could have written it."""

import json
from typing import Any

import pytest

from workers.arms.left_files import MAX_FILE_BYTES, MAX_FILES, LeftFile, LeftFiles, plain_path, read_left


def written(head: Any, *contents: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + b"".join(contents)


def test_a_report_and_files_are_read_in_their_order() -> None:
    head = {"own": 3, "files": [["a.csv", 2], ["deep/b.txt", 1]], "left_out": 1}

    report, left = read_left(written(head, b"<x>", b"12", b"3"))

    assert report == b"<x>"
    assert left == LeftFiles((LeftFile("a.csv", b"12"), LeftFile("deep-b.txt", b"3")), left_out=1)
    assert "1 files in $OCTOLLM_OUT are not kept" in left.warnings()[0]


@pytest.mark.parametrize(
    "head",
    [
        None,
        [],
        {"own": 0, "files": []},
        {"own": -1, "files": [], "left_out": 0},
        {"own": 0, "files": [["a", -5]], "left_out": 0},
        {"own": 0, "files": [["a"]], "left_out": 0},
        {"own": 0, "files": 7, "left_out": 0},
        {"own": 1e999, "files": [], "left_out": 0},
    ],
)
def test_a_malformed_report_has_no_files(head: Any) -> None:
    assert read_left(written(head, b"abc")) == (b"", LeftFiles())


def test_what_is_no_report_at_all_has_no_files() -> None:
    for text in (b"", b"\n", b"<testsuites/>", b"[" * 100_000 + b"\n", b"x" * 1_000_000):
        assert read_left(text) == (b"", LeftFiles())


def test_a_file_that_is_cut_too_large_or_one_too_many_is_left_out() -> None:
    many = [["a", 0]] * (MAX_FILES + 3)

    _, cut = read_left(written({"own": 0, "files": [["a", 9]], "left_out": 0}, b"short"))
    _, large = read_left(written({"own": 0, "files": [["a", MAX_FILE_BYTES + 1]], "left_out": 0}))
    _, counted = read_left(written({"own": 0, "files": many, "left_out": 0}))

    assert (cut, large) == (LeftFiles(left_out=1), LeftFiles(left_out=1))
    assert (len(counted.files), counted.left_out) == (MAX_FILES, 3)
    assert len({file.name for file in counted.files}) == MAX_FILES


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.csv", "a.csv"),
        ("deep/er/a.csv", "deep-er-a.csv"),
        ("../../etc/passwd", "etc-passwd"),
        ("/etc/passwd", "etc-passwd"),
        ("..\\x.txt", "x.txt"),
        (".bashrc", "bashrc"),
        ("", "file"),
        ("..", "file"),
        ("a\x00b\n\u202e.txt", "a_b__.txt"),
        ("\ud800.txt", "_.txt"),
        ("ü" * 300, "ü" * 100),
    ],
)
def test_a_name_is_one_printable_part_of_a_path(path: str, name: str) -> None:
    assert plain_path(path) == name
