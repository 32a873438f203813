"""The files of a result: which outputs hold some, and how they are written to a folder."""

import pathlib

import pytest

from orchestrator.cli.inspection import _write_new
from orchestrator.lifecycle import deliverables

FILE, OTHER, GIVEN = "a" * 64, "b" * 64, "c" * 64


def test_patches_and_stored_files_are_found_at_any_depth_once() -> None:
    outputs = {
        "fix": {"summary": "s", "patch": "--- a\n+++ b\n", "accepted": True},
        "none": {"patch": "  "},
        "make": {"files": [{"name": "x", "artifact_id": FILE}, {"deep": [{"artifact_id": OTHER}]}]},
        "again": [
            {"artifact_id": FILE},
            {"artifact_id": GIVEN},
            {"artifact_id": "short"},
            {"artifact_id": 7},
        ],
    }

    found = deliverables.find(outputs, outputs, given=[GIVEN])

    assert found.patches == {"fix": "--- a\n+++ b\n"}
    assert found.stored == (("make", FILE, "x"), ("make", OTHER, ""))


def test_the_files_of_a_large_output_are_found_beside_the_file_that_has_the_output() -> None:
    outputs = {"make": {"files": [{"name": "x", "artifact_id": FILE}]}}

    found = deliverables.find(outputs, {"make": {"artifact_id": OTHER, "size_bytes": 9}}, given=())

    assert found.stored == (("make", OTHER, ""), ("make", FILE, "x"))


def test_a_round_without_files_has_no_deliverables() -> None:
    assert not deliverables.find({"a": {"summary": "s"}}, {"a": {"summary": "s"}}, given=())


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.patch", "a.patch"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.txt", "x.txt"),
        (".bashrc", "bashrc"),
        ("..", "file"),
    ],
)
def test_a_name_never_leads_out_of_the_folder(tmp_path: pathlib.Path, name: str, written: str) -> None:
    assert _write_new(tmp_path, name, b"x") == tmp_path / written


def test_an_existing_file_is_never_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.patch").write_bytes(b"mine")

    first = _write_new(tmp_path, "a.patch", b"new")
    again = _write_new(tmp_path, "a.patch", b"new")

    assert (tmp_path / "a.patch").read_bytes() == b"mine"
    assert first == again == tmp_path / "a-2.patch"
