"""Reads pytest's JUnit report (family xunit1): how many tests ended how, and why some did not pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

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
    """How tests ended; `errors` are tests that broke outside of themselves, and files not collected."""

    __test__ = False

    passed: int
    failed: int
    errors: int
    skipped: int
    failures: tuple[TestFailure, ...]

    @property
    def total(self) -> int:
        """Return how many outcomes there are."""
        return self.passed + self.failed + self.errors + self.skipped


def read_report(content: bytes) -> TestReport | None:
    """Return what a report says, or None when it can't be read."""
    # what pytest writes has no document type: one that has is the work of the code under test
    if b"<!" in content.replace(b"<![CDATA[", b""):
        return None
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - no entities without a document type
    except ElementTree.ParseError:
        return None
    outcomes = {"failure": 0, "error": 0, "skipped": 0, "passed": 0}
    for case in root.iter("testcase"):
        outcomes[_outcome(case)] += 1
    return TestReport(
        passed=outcomes["passed"],
        failed=outcomes["failure"],
        errors=outcomes["error"],
        skipped=outcomes["skipped"],
        failures=tuple(_failures(root)),
    )


def _outcome(case: ElementTree.Element) -> str:
    return next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")


def _failures(root: ElementTree.Element) -> Iterator[TestFailure]:
    for case in root.iter("testcase"):
        found = case.find("failure")
        found = case.find("error") if found is None else found
        if found is not None:
            message = found.get("message") or (found.text or "").strip().partition("\n")[0]
            line = int(case.get("line") or 0) + 1
            file = case.get("file", "")
            yield TestFailure(_node_id(case, file), file, line, message[:MAX_MESSAGE_CHARACTERS])


def _node_id(case: ElementTree.Element, file: str) -> str:
    module = file.removesuffix(".py").replace("/", ".")
    classes = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
    return "::".join(part for part in (file, classes, case.get("name", "")) if part)
