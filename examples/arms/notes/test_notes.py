"""The actions of the arm are ordinary functions: the tests call them."""

from pathlib import Path

import pytest
from notes import read, write

from orchestrator.sdk import Failed


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the notes."""
    monkeypatch.setenv("NOTES_DIRECTORY", str(tmp_path / "notes"))
    return tmp_path / "notes"


def test_what_was_written_is_read(directory: Path) -> None:
    write("a.md", "é\n")
    write("a.md", "two\n")

    assert read("a.md").text == "two\n"
    assert [path.name for path in directory.iterdir()] == ["a.md"]


def test_a_note_that_does_not_exist_is_an_error_of_its_own() -> None:
    with pytest.raises(Failed, match="no note b"):
        read("b.md")
