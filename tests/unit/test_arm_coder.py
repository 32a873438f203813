"""The coder reads code without running it."""

from pathlib import Path

from orchestrator.safety.archive import pack
from tests.unit.arm_kit import assignment, run

BRANCHED = '''"""Module."""


class Thing:
    """A thing."""

    def choose(self, items):
        """Choose."""
        for item in items:
            if item and item.good or item.fine:
                return item
        return [i for i in items if i] or None


def _private():
    def inner():
        while True:
            pass
    return inner
'''


def package(tmp_path: Path, **files: str) -> dict[str, bytes]:
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    return {"code.tar.gz": pack(tmp_path)}


def test_every_file_is_parsed_and_each_error_has_its_place(tmp_path: Path) -> None:
    files = package(tmp_path, good="a = 1\n", bad="a = 1\nb = = 2\n", nul="a = '\\ud800'\n")

    output = run(assignment("coder", "syntax", files=files)).output

    assert output["files_checked"] == 3
    assert output["error_count"] == 1
    assert [(error["file"], error["line"]) for error in output["errors"]] == [("bad.py", 2)]


def test_code_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "code").mkdir()
    files = package(tmp_path / "code", bomb=f"open({str(mark)!r}, 'w')\n")

    run(assignment("coder", "syntax", files=files))
    run(assignment("coder", "metrics", files=files))

    assert not mark.exists()


def test_code_nested_too_deeply_is_an_error_not_a_crash(tmp_path: Path) -> None:
    files = package(tmp_path, deep="a = " + "(" * 5_000 + ")" * 5_000, minus="a = " + "-" * 50_000 + "1")

    output = run(assignment("coder", "syntax", files=files)).output

    assert output["error_count"] == 2


def test_metrics_count_functions_branches_and_docstrings(tmp_path: Path) -> None:
    output = run(assignment("coder", "metrics", files=package(tmp_path, branched=BRANCHED))).output

    worst = output["most_complex"][0]
    assert (output["files"], output["functions"], output["classes"]) == (1, 3, 1)
    assert (output["documented"], output["documentable"]) == (3, 4)
    assert (worst["name"], worst["line"], worst["complexity"]) == ("choose", 7, 7)
    assert {item["name"]: item["complexity"] for item in output["most_complex"]} == {
        "choose": 7,
        "_private": 1,
        "inner": 2,
    }


def test_metrics_name_files_that_can_not_be_parsed(tmp_path: Path) -> None:
    output = run(assignment("coder", "metrics", files=package(tmp_path, bad="def :", good="a = 1\n"))).output

    assert output["files"] == 2
    assert output["unparsed"] == ["bad.py"]
