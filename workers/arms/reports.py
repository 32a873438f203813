"""Reads what pytest (JUnit XML, family xunit1) and coverage (JSON) report, and names missing modules.

The code under test can write both reports, so they are parsed in a child process with limits. The library junitparser
is not used: its test cases have no `file` and `line`, of which node ids are made, and it fails on a UTF-8 report that
declares another encoding and on `time="x"`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from orchestrator.models.errors import InvalidStepInput
from workers.arms.text_files import is_test_file
from workers.sandbox.limited import MEBIBYTE, CallLimits, limited

MAX_MESSAGE_CHARACTERS = 500
MAX_NAME_CHARACTERS = 1_000
MAX_FAILURES = 10_000
MAX_MISSING = 50
_TEST_REPORT_LIMITS = CallLimits(answer_bytes=32 * MEBIBYTE)
_COVERAGE_LIMITS = CallLimits(answer_bytes=16 * MEBIBYTE)
_RAISED = re.compile(r"^E?[ ]*([A-Za-z_][\w.]*(?:Error|Exception))\b", re.MULTILINE)
_ABSENT = re.compile(r"^E?[ ]*ModuleNotFoundError: No module named '([^'.]{1,100})[^'\n]*'", re.MULTILINE)


@dataclass(frozen=True)
class TestFailure:
    """A test that failed or raised an error: its pytest node id, its 1-based line, the start of its message."""

    __test__ = False

    test: str
    file: str
    line: int
    message: str


@dataclass(frozen=True)
class TestReport:
    """How many tests ended how; `errors` counts tests whose set-up failed, and files that were not collected.

    `not_run` counts failures and errors that only a missing module explains; `failed` and `errors` leave them out.
    `missing` names the modules that the tests imported and that are not installed.
    """

    __test__ = False

    passed: int
    failed: int
    errors: int
    skipped: int
    failures: tuple[TestFailure, ...]
    not_run: int = 0
    missing: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Return the number of outcomes."""
        return self.passed + self.failed + self.errors + self.skipped + self.not_run

    @property
    def is_inconclusive(self) -> bool:
        """Return whether nothing failed except tests that need a missing module."""
        return bool(self.missing) and not self.failed and not self.errors


@dataclass(frozen=True)
class CoveredFile:
    """One file: the number of its statements, and of those that ran."""

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
class CoverageReport:
    """Which statements and functions of a package the tests ran; test files are left out."""

    files: tuple[CoveredFile, ...]
    functions: tuple[CoveredFunction, ...]

    @property
    def statements(self) -> int:
        """Return the number of statements."""
        return sum(file.statements for file in self.files)

    @property
    def percent(self) -> float:
        """Return the percentage of statements that ran; 0 when no file was measured."""
        return (
            round(100 * sum(file.run for file in self.files) / (self.statements or 1), 1)
            if self.files
            else 0.0
        )

    @property
    def never_run(self) -> tuple[CoveredFunction, ...]:
        """Return the functions that no test enters."""
        return tuple(function for function in self.functions if not function.is_run)


def read_test_report(
    content: bytes, *, own: Collection[str] = (), checkpoint: Callable[[], None] = lambda: None
) -> TestReport | None:
    """Return a JUnit report, None when it can't be read; `own` are the modules of the code under test.

    `checkpoint` is as in workers.sandbox.limited.
    """
    read = limited(
        parse_test_report, "the report of the tests", checkpoint=checkpoint, limits=_TEST_REPORT_LIMITS
    )
    try:
        report = read(content, list(own))
    except InvalidStepInput:
        return None
    if report is None:
        return None
    failures = tuple(TestFailure(**failure) for failure in report["failures"])
    return TestReport(**{**report, "failures": failures, "missing": tuple(report["missing"])})


def parse_test_report(content: bytes, own: Collection[str]) -> dict[str, Any] | None:
    """Return a TestReport as a dict, None when the report can't be read; call it through `limited`.

    A report must be UTF-8, as pytest writes it: the check for a document type reads no other encoding. UTF-8 text
    without zero bytes can't be taken for UTF-16 by the parser, whatever encoding the report declares.
    """
    # pytest writes no document type: a report with one comes from the code under test
    if b"<!" in content.replace(b"<![CDATA[", b"") or not _is_utf8(content):
        return None
    try:
        # an encoding given to the parser overrides the one that the report declares
        parser = ElementTree.XMLParser(encoding="utf-8")  # noqa: S314 - no entities without a document type
        root = ElementTree.fromstring(content, parser=parser)  # noqa: S314 - as above
    except ElementTree.ParseError:
        return None
    outcomes: Counter[str] = Counter()
    tracebacks: list[str] = []
    for case in root.iter("testcase"):
        outcome = _outcome(case, own)
        outcomes[outcome] += 1
        tracebacks += [_traceback(case)] if outcome == "not_run" else []
    report = TestReport(
        passed=outcomes["passed"],
        failed=outcomes["failure"],
        errors=outcomes["error"],
        skipped=outcomes["skipped"],
        failures=tuple(islice(_failures(root), MAX_FAILURES)),
        not_run=outcomes["not_run"],
        missing=missing_modules(tracebacks, own=own),
    )
    return asdict(report)


def read_coverage(
    content: bytes, *, root: PurePosixPath, checkpoint: Callable[[], None] = lambda: None
) -> CoverageReport | None:
    """Return what coverage reports of the files below `root`, None when it can't be read.

    `checkpoint` is as in workers.sandbox.limited.
    """
    read = limited(parse_coverage, "the report of coverage", checkpoint=checkpoint, limits=_COVERAGE_LIMITS)
    try:
        found = read(content, root)
    except InvalidStepInput:
        return None
    if found is None:
        return None
    return CoverageReport(
        tuple(CoveredFile(**file) for file in found["files"]),
        tuple(CoveredFunction(**function) for function in found["functions"]),
    )


def parse_coverage(content: bytes, root: PurePosixPath) -> dict[str, Any] | None:
    """Return a CoverageReport as a dict, None when the report can't be read; call it through `limited`."""
    try:
        files = json.loads(content)["files"]
        sources = {_relative(name, root): report for name, report in files.items()}
        kept = {name: report for name, report in sorted(sources.items()) if not is_test_file(name)}
        found = CoverageReport(
            files=tuple(_covered_file(name, report) for name, report in kept.items()),
            functions=tuple(
                function for name, report in kept.items() for function in _covered_functions(name, report)
            ),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return asdict(found)


def own_modules(root: Path) -> frozenset[str]:
    """Return the modules that can be imported from a package's sources, from its top or from `src`."""
    return frozenset(
        path.stem
        for place in (root, root / "src")
        if place.is_dir()
        for path in place.iterdir()
        if path.is_dir() or path.suffix == ".py"
    )


def missing_modules(texts: Iterable[str], *, own: Collection[str]) -> tuple[str, ...]:
    """Return the top-level modules, at most MAX_MISSING, that tracebacks name as not found, except `own`."""
    found = {name for text in texts for name in _ABSENT.findall(text)}
    return tuple(sorted(found - set(own))[:MAX_MISSING])


def ends_by_missing_module(traceback: str, *, own: Collection[str]) -> bool:
    """Return whether the last exception of a traceback is an import error that a missing module explains."""
    raised = _RAISED.findall(traceback)
    return bool(
        raised
        and raised[-1] in ("ModuleNotFoundError", "ImportError")
        and missing_modules([traceback], own=own)
    )


def missing_sentence(missing: Sequence[str], *, subject: str) -> str:
    """Return a sentence that names the missing modules; `subject` is like "the tests need"."""
    return f"{subject} {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed here"


def not_checked(missing: Sequence[str], *, subject: str) -> dict[str, Any]:
    """Return the `not_checked` member of an output that proves nothing because modules are missing."""
    return {"reason": "dependency_missing", "message": missing_sentence(missing, subject=subject)}


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _outcome(case: ElementTree.Element, own: Collection[str]) -> str:
    kind = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
    is_failed = kind in ("failure", "error")
    return "not_run" if is_failed and ends_by_missing_module(_traceback(case), own=own) else kind


def _failure_of(case: ElementTree.Element) -> ElementTree.Element | None:
    found = case.find("failure")
    return case.find("error") if found is None else found


def _traceback(case: ElementTree.Element) -> str:
    found = _failure_of(case)
    return "" if found is None else found.text or found.get("message") or ""


def _failures(root: ElementTree.Element) -> Iterator[TestFailure]:
    for case in root.iter("testcase"):
        found = _failure_of(case)
        if found is not None:
            message = found.get("message") or (found.text or "").strip().partition("\n")[0]
            line = _line_number(case.get("line")) + 1
            file = case.get("file", "")
            yield TestFailure(
                _node_id(case, file)[:MAX_NAME_CHARACTERS],
                file[:MAX_NAME_CHARACTERS],
                line,
                message[:MAX_MESSAGE_CHARACTERS],
            )


def _line_number(text: str | None) -> int:
    """Return the number in an attribute, 0 when it is no number of at most nine digits."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _node_id(case: ElementTree.Element, file: str) -> str:
    module = file.removesuffix(".py").replace("/", ".")
    classes = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
    return "::".join(part for part in (file, classes, case.get("name", "")) if part)


def _relative(name: str, root: PurePosixPath) -> str:
    path = PurePosixPath(name)
    return (path.relative_to(root) if path.is_absolute() else path).as_posix()


def _covered_file(name: str, report: Mapping[str, Any]) -> CoveredFile:
    summary = report["summary"]
    return CoveredFile(name, int(summary["num_statements"]), int(summary["covered_lines"]))


def _covered_functions(file: str, report: Mapping[str, Any]) -> Iterator[CoveredFunction]:
    """Yield the file's functions; the region without a name is the module itself."""
    for name, region in report["functions"].items():
        summary = region["summary"]
        if name and summary["num_statements"]:
            yield CoveredFunction(name, file, int(region["start_line"]), int(summary["covered_lines"]) > 0)
