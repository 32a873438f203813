"""Reads pytest's JUnit report (family xunit1): how many tests ended how, and why some did not pass."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any
from xml.etree import ElementTree

from orchestrator.models.errors import InvalidStepInput
from workers.arms import dependencies
from workers.sandbox.limited import MEBIBYTE, Limits, limited

MAX_MESSAGE_CHARACTERS = 500
MAX_NAME_CHARACTERS = 1_000
MAX_FAILURES = 10_000
_LIMITS = Limits(answer_bytes=32 * MEBIBYTE)


@dataclass(frozen=True)
class TestFailure:
    """A test that failed or broke: its pytest node id, its place, and the first words of why."""

    __test__ = False

    test: str
    file: str
    line: int
    message: str


@dataclass(frozen=True)
class TestReport:
    """How tests ended; `errors` are tests that broke outside of themselves, and files not collected.

    `not_run` are failures and errors that only a missing dependency explains; `failed` and `errors` are without them.
    `missing` names what the tests imported and is not installed.
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
        """Return how many outcomes there are."""
        return self.passed + self.failed + self.errors + self.skipped + self.not_run

    @property
    def shows_nothing(self) -> bool:
        """Tell whether it is open what the tests would show: nothing failed but what could not run."""
        return bool(self.missing) and not self.failed and not self.errors


def read_report(
    content: bytes, *, own: Collection[str] = (), checkpoint: Callable[[], None] = lambda: None
) -> TestReport | None:
    """Return what a report says, or None when it can't be read; `own` are the modules of the code under test.

    `checkpoint` is as in workers.sandbox.limited.
    """
    read = limited(parse_report, "the report of the tests", checkpoint=checkpoint, limits=_LIMITS)
    try:
        report = read(content, list(own))
    except InvalidStepInput:
        # the code under test may have written it
        return None
    return None if report is None else _restored(report)


def parse_report(content: bytes, own: Collection[str]) -> dict[str, Any] | None:
    """Return the TestReport that a report holds, or None when it can't be read; call it through `limited`.

    A report is UTF-8, as pytest writes it: in another encoding a document type could not be seen. Text in UTF-8 has
    no zero bytes, by which the parser knows UTF-16 whatever encoding it is told.
    """
    # what pytest writes has no document type: one that has is the work of the code under test
    if b"<!" in content.replace(b"<![CDATA[", b"") or not _is_utf8(content):
        return None
    try:
        # the encoding that is named here counts for more than one that the report names
        parser = ElementTree.XMLParser(encoding="utf-8")  # noqa: S314 - no entities without a document type
        root = ElementTree.fromstring(content, parser=parser)  # noqa: S314 - as above
    except ElementTree.ParseError:
        return None
    outcomes = Counter(_outcome(case, own) for case in root.iter("testcase"))
    tracebacks = [_traceback(case) for case in root.iter("testcase") if _outcome(case, own) == "not_run"]
    report = TestReport(
        passed=outcomes["passed"],
        failed=outcomes["failure"],
        errors=outcomes["error"],
        skipped=outcomes["skipped"],
        failures=tuple(islice(_failures(root), MAX_FAILURES)),
        not_run=outcomes["not_run"],
        missing=dependencies.named(tracebacks, own=own),
    )
    return asdict(report)


def _restored(report: Mapping[str, Any]) -> TestReport:
    failures = tuple(TestFailure(**failure) for failure in report["failures"])
    return TestReport(**{**report, "failures": failures, "missing": tuple(report["missing"])})


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content


def _outcome(case: ElementTree.Element, own: Collection[str]) -> str:
    kind = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
    is_broken = kind in ("failure", "error")
    return "not_run" if is_broken and dependencies.explains(_traceback(case), own=own) else kind


def _broken(case: ElementTree.Element) -> ElementTree.Element | None:
    found = case.find("failure")
    return case.find("error") if found is None else found


def _traceback(case: ElementTree.Element) -> str:
    found = _broken(case)
    return "" if found is None else found.text or found.get("message") or ""


def _failures(root: ElementTree.Element) -> Iterator[TestFailure]:
    for case in root.iter("testcase"):
        found = _broken(case)
        if found is not None:
            message = found.get("message") or (found.text or "").strip().partition("\n")[0]
            line = _whole(case.get("line")) + 1
            file = case.get("file", "")
            yield TestFailure(
                _node_id(case, file)[:MAX_NAME_CHARACTERS],
                file[:MAX_NAME_CHARACTERS],
                line,
                message[:MAX_MESSAGE_CHARACTERS],
            )


def _whole(text: str | None) -> int:
    """Return the number that an attribute holds, 0 where it holds none that a line may have."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _node_id(case: ElementTree.Element, file: str) -> str:
    module = file.removesuffix(".py").replace("/", ".")
    classes = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
    return "::".join(part for part in (file, classes, case.get("name", "")) if part)
