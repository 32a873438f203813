"""A unified diff is applied like `patch` does, where its lines are found, or refused with nothing written."""

import difflib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.models.errors import PatchRejected
from workers.arms.unified_diff import ChangedFile, _places, apply_patch, parse_patch

OLD = "one\ntwo\nthree\nfour\nfive\nsix\n"
CHANGE_THREE = "--- a/a.txt\n+++ b/a.txt\n@@ -2,3 +2,3 @@\n two\n-three\n+THREE\n four\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with one file."""
    (tmp_path / "a.txt").write_bytes(OLD.encode())
    return tmp_path


def patched(root: Path, patch: str) -> str:
    apply_patch(parse_patch(patch), root)
    return (root / "a.txt").read_bytes().decode()


def test_a_hunk_changes_its_lines_and_is_counted(root: Path) -> None:
    applied = apply_patch(parse_patch(CHANGE_THREE), root)

    assert (root / "a.txt").read_text() == OLD.replace("three", "THREE")
    assert applied == [ChangedFile("a.txt", added=1, removed=1)]


@pytest.mark.parametrize(
    "patch",
    [
        "diff --git a/a.txt b/a.txt\nindex 1..2 100644\n" + CHANGE_THREE,
        CHANGE_THREE.replace("-2,3 +2,3", "-900,1 +900,7"),
        CHANGE_THREE.replace("@@ -2,3 +2,3 @@", "@@ ... @@"),
        CHANGE_THREE.replace("a/", "").replace("b/", ""),
        CHANGE_THREE.replace("--- a/a.txt", "--- a/a.txt\t2026-01-01 00:00:00"),
        CHANGE_THREE.replace("\n", "\r\n"),
        "\n" + CHANGE_THREE + "\n\n",
    ],
)
def test_errors_of_models_in_headers_are_tolerated(patch: str, root: Path) -> None:
    assert patched(root, patch) == OLD.replace("three", "THREE")


def test_all_places_of_lines_are_found() -> None:
    for size in range(9):
        for lines in itertools.product("ab", repeat=size):
            for wanted in (("a",), ("a", "b"), ("a", "a"), ("a", "b", "a"), ("a", "a", "b", "a")):
                places = [at for at in range(size) if lines[at : at + len(wanted)] == wanted]
                assert list(_places(wanted, lines)) == places


def test_repeated_lines_are_changed_at_the_hunk_s_line_number(root: Path) -> None:
    (root / "a.txt").write_text("x\ny\n" * 5)

    assert (
        patched(root, "--- a.txt\n+++ a.txt\n@@ -7,2 +7,2 @@\n-x\n+X\n y\n")
        == "x\ny\n" * 3 + "X\ny\n" + "x\ny\n"
    )


def test_files_are_made_and_deleted_and_hunks_shift_each_other(root: Path) -> None:
    (root / "gone.txt").write_text("bye\n")
    patch = (
        "--- /dev/null\n+++ b/deep/new.txt\n@@ -0,0 +1,2 @@\n+hello\n+\n"
        "--- a/gone.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-bye\n"
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,0 +2,2 @@\n+1.3\n+1.6\n@@ -5,2 +7,1 @@\n five\n-six\n"
    )

    assert patched(root, patch) == "one\n1.3\n1.6\ntwo\nthree\nfour\nfive\n"
    assert (root / "deep" / "new.txt").read_text() == "hello\n\n"
    assert not (root / "gone.txt").exists()


def test_the_file_s_newlines_are_kept(root: Path) -> None:
    (root / "a.txt").write_bytes(OLD.replace("\n", "\r\n").encode())

    assert patched(root, CHANGE_THREE) == OLD.replace("three", "THREE").replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("", "not part of a unified diff|changes no file"),
        ("Here is the patch:\n" + CHANGE_THREE, "line 1 of the patch is not part of a unified diff"),
        ("--- a/a.txt\n+++ b/a.txt\n", "has no hunk"),
        ("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n one\n", "changes nothing"),
        (CHANGE_THREE.replace("-three", "-thre"), "line 3 is 'three', not 'thre'"),
        (CHANGE_THREE.replace("a.txt", "b.txt"), "there is no b.txt"),
        (CHANGE_THREE.replace("a.txt", "../a.txt"), "not a path inside"),
        (CHANGE_THREE.replace("a/a.txt", "/etc/passwd"), "not a path inside"),
        (CHANGE_THREE.replace("a.txt", "link/a.txt"), "leads outside"),
        (CHANGE_THREE.replace("--- a/a.txt", "--- /dev/null"), "exists already"),
        ("rename from a.txt\nrename to b.txt\n", "renames"),
        (CHANGE_THREE + CHANGE_THREE, "twice"),
        ("x" * 200_001, "at most"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_and_nothing_is_written(
    patch: str, why: str, root: Path
) -> None:
    (root / "link").symlink_to("/tmp")
    fitting = "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+x\n" if patch.startswith("---") else ""

    with pytest.raises(PatchRejected, match=why):
        patched(root, fitting + patch)

    assert (root / "a.txt").read_text() == OLD
    assert not (root / "new.txt").exists()


LINES = st.lists(st.sampled_from(["a", "b", "c", "", " a", "-x", "+y", "@@", "-- z"]), max_size=12)
TEXT = st.builds(
    lambda lines, end: "\n".join(lines) + (end if lines else ""), LINES, st.sampled_from(["\n", ""])
)


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT, st.integers(0, 3))
def test_a_diff_of_two_texts_turns_the_one_into_the_other(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, context: int
) -> None:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), "a/f", "b/f", n=context
    )
    bare = "\n\\ No newline at end of file\n"
    patch = "".join(line if line.endswith("\n") else line + bare for line in lines)
    root = tmp_path_factory.mktemp("patch")
    (root / "f").write_text(before)

    if patch:
        apply_patch(parse_patch(patch), root)

    assert (root / "f").read_text() == after
