"""Attachments are unpacked in a private directory, which is removed afterwards."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.models.errors import InvalidStepInput
from orchestrator.safety.archive import pack
from tests.unit.arm_kit import assignment, attachment_of
from workers.arms.base import Assignment
from workers.arms.sources import read_sources, selected_attachments, workspace
from workers.arms.text_files import files_below


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory that must be empty after the test."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    tempfile.tempdir = None
    yield place
    tempfile.tempdir = None


def lock_up(root: Path) -> None:
    """Behave like a tool that removes permissions from its own directory, then fails."""
    (root / "locked").mkdir()
    (root / "locked" / "file").write_text("x")
    (root / "locked").chmod(0o000)
    raise ZeroDivisionError


def names(given: Assignment) -> list[str]:
    with workspace(given, selected_attachments(given)) as root:
        return [name for name, _ in files_below(root)]


def tree(place: Path, *files: str) -> bytes:
    for name in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    return pack(place)


def test_the_outer_directory_of_a_distribution_is_entered_but_not_that_of_a_package(tmp_path: Path) -> None:
    sdist = tree(tmp_path / "a", "thing-1.0/setup.py", "thing-1.0/thing/core.py")
    package = tree(tmp_path / "b", "thing/__init__.py", "thing/core.py")

    assert names(assignment("coder", "syntax", files={"a.tar.gz": sdist})) == ["setup.py", "thing/core.py"]
    assert names(assignment("coder", "syntax", files={"b.tar.gz": package})) == [
        "thing/__init__.py",
        "thing/core.py",
    ]


def test_several_attachments_do_not_mix(tmp_path: Path) -> None:
    one, other = tree(tmp_path / "a", "x.txt"), tree(tmp_path / "b", "x.txt", "y.txt")
    given = assignment("retriever", "search", files={"one.tgz": one, "other.tgz": other, "x.txt": b"x"})

    assert names(given) == ["one.tgz/x.txt", "other.tgz/x.txt", "other.tgz/y.txt", "x.txt"]


def test_two_files_with_the_same_name_are_both_kept() -> None:
    given = assignment("retriever", "search", files={"a/x.txt": b"1", "b/x.txt": b"2"})

    assert names(given) == ["1-x.txt/x.txt", "2-x.txt/x.txt"]


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "/evil.txt", "a\\..\\evil.txt", "..", "evil\0.txt", "e" * 300]
)
def test_a_file_name_leads_nowhere_else(name: str, scratch: Path) -> None:
    given = assignment("retriever", "search", files={name: b"x"})

    with workspace(given, selected_attachments(given)) as root:
        written = [path for path in scratch.rglob("*") if path.is_file()]
        assert [path.parent for path in written] == [root]


def test_the_workspace_is_removed_after_any_outcome(scratch: Path) -> None:
    given = assignment("retriever", "search", files={"a.txt": b"x"})
    broken = assignment("coder", "syntax", files={"a.tar.gz": b"no archive"})

    with pytest.raises(ZeroDivisionError), workspace(given, selected_attachments(given)) as root:
        lock_up(root)
    with pytest.raises(InvalidStepInput), workspace(broken, selected_attachments(broken)):
        pass

    assert not list(scratch.iterdir())


def test_texts_above_the_limit_are_listed_as_skipped() -> None:
    given = assignment(
        "retriever", "search", files={f"{n:02}.txt": b"%02d" % n + b"x" * 2_000_000 for n in range(10)}
    )

    sources, skipped = read_sources(given)

    assert len(sources) == 8
    assert [item["file"] for item in skipped] == ["08.txt", "09.txt"]


def test_only_the_attachments_that_the_inputs_name_are_read() -> None:
    wanted = attachment_of(b"b", "b.txt")
    given = assignment(
        "retriever", "search", {"attachments": [wanted.sha256]}, files={"a.txt": b"a", "b.txt": b"b"}
    )

    assert names(given) == ["b.txt"]
