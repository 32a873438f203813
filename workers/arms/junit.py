"""Reads pytest's JUnit report (family xunit1): how many tests ended how, and why some did not pass."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from workers.arms import dependencies

MAX_MESSAGE_CHARACTERS = 500


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


def read_report(content: bytes, *, own: Collection[str] = ()) -> TestReport | None:
    """Return what a report says, or None when it can't be read; `own` are the modules of the code under test."""
    # what pytest writes has no document type: one that has is the work of the code under test
    if b"<!" in content.replace(b"<![CDATA[", b""):
        return None
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - no entities without a document type
    except ElementTree.ParseError:
        return None
    outcomes = Counter(_outcome(case, own) for case in root.iter("testcase"))
    tracebacks = [_traceback(case) for case in root.iter("testcase") if _outcome(case, own) == "not_run"]
    return TestReport(
        passed=outcomes["passed"],
        failed=outcomes["failure"],
        errors=outcomes["error"],
        skipped=outcomes["skipped"],
        failures=tuple(_failures(root)),
        not_run=outcomes["not_run"],
        missing=dependencies.named(tracebacks, own=own),
    )


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
            line = int(case.get("line") or 0) + 1
            file = case.get("file", "")
            yield TestFailure(_node_id(case, file), file, line, message[:MAX_MESSAGE_CHARACTERS])


def _node_id(case: ElementTree.Element, file: str) -> str:
    module = file.removesuffix(".py").replace("/", ".")
    classes = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
    return "::".join(part for part in (file, classes, case.get("name", "")) if part)
