"""Reads coverage's JSON report: how much of a package its tests run, and which functions they never enter."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from orchestrator.models.errors import InvalidStepInput
from workers.arms.file_tree import is_test_file
from workers.sandbox.limited import MEBIBYTE, Limits, limited

_LIMITS = Limits(answer_bytes=16 * MEBIBYTE)


@dataclass(frozen=True)
class CoveredFile:
    """One file: statements in it, and those of them that ran."""

    file: str
    statements: int
    run: int


@dataclass(frozen=True)
class CoveredFunction:
    """One function with statements, and whether any of them ran."""

    name: str
    file: str
    line: int
    is_run: bool


@dataclass(frozen=True)
class CoverageMap:
    """What tests ran of a package; its test files are left out."""

    files: tuple[CoveredFile, ...]
    functions: tuple[CoveredFunction, ...]

    @property
    def statements(self) -> int:
        """Return how many statements there are."""
        return sum(file.statements for file in self.files)

    @property
    def percent(self) -> float:
        """Return the percentage of statements that ran, 100 where there are none."""
        return (
            round(100 * sum(file.run for file in self.files) / (self.statements or 1), 1)
            if self.files
            else 0.0
        )

    @property
    def never_run(self) -> tuple[CoveredFunction, ...]:
        """Return the functions that no test enters."""
        return tuple(function for function in self.functions if not function.is_run)


def read_coverage(
    content: bytes, *, root: PurePosixPath, checkpoint: Callable[[], None] = lambda: None
) -> CoverageMap | None:
    """Return what a report says of the files below `root`, or None when it is none: the code under test made it.

    `checkpoint` is as in workers.sandbox.limited.
    """
    read = limited(parse_coverage, "the report of coverage", checkpoint=checkpoint, limits=_LIMITS)
    try:
        found = read(content, root)
    except InvalidStepInput:
        return None
    return None if found is None else _restored(found)


def parse_coverage(content: bytes, root: PurePosixPath) -> dict[str, Any] | None:
    """Return the CoverageMap of a report, or None when it is none; to be called through workers.sandbox.limited."""
    try:
        files = json.loads(content)["files"]
        sources = {_inside(name, root): report for name, report in files.items()}
        kept = {name: report for name, report in sorted(sources.items()) if not is_test_file(name)}
        found = CoverageMap(
            files=tuple(_file(name, report) for name, report in kept.items()),
            functions=tuple(
                function for name, report in kept.items() for function in _functions(name, report)
            ),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return asdict(found)


def _restored(found: Mapping[str, Any]) -> CoverageMap:
    return CoverageMap(
        tuple(CoveredFile(**file) for file in found["files"]),
        tuple(CoveredFunction(**function) for function in found["functions"]),
    )


def _inside(name: str, root: PurePosixPath) -> str:
    path = PurePosixPath(name)
    return (path.relative_to(root) if path.is_absolute() else path).as_posix()


def _file(name: str, report: Mapping[str, Any]) -> CoveredFile:
    summary = report["summary"]
    return CoveredFile(name, int(summary["num_statements"]), int(summary["covered_lines"]))


def _functions(file: str, report: Mapping[str, Any]) -> Iterator[CoveredFunction]:
    """Yield the file's functions; the nameless region is the module itself."""
    for name, region in report["functions"].items():
        summary = region["summary"]
        if name and summary["num_statements"]:
            yield CoveredFunction(name, file, int(region["start_line"]), int(summary["covered_lines"]) > 0)
