"""Random input for the readers of untrusted text and files: each is read or refused, in bounded time."""

import json
import string
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.models.errors import InvalidStepInput, PatchRejected
from orchestrator.rules.pattern import compile_pattern
from orchestrator.safety import redact, scan
from orchestrator.similarity import canonical_key
from workers.arms.python_metrics import read_package
from workers.arms.reports import parse_coverage, parse_test_report
from workers.arms.unified_diff import patch_files
from workers.sandbox.limited import CallLimits, limited

_HANG_SECONDS = 10.0
"""Far above the time that any input needs; a backtracking pattern would exceed it."""
_LETTERS = 8_000

_PIECES = st.one_of(
    st.text(string.ascii_letters + string.digits + string.punctuation + " \t\né：", min_size=1, max_size=6),
    st.sampled_from(
        [
            "12 34 ",
            "::1:",
            "a@",
            "a.",
            "-----BEGIN ",
            "eyJ",
            "sk-",
            "+49 ",
            "(1) ",
            "://a:",
            "ignore ",
            "0x",
            "'s ",
        ]
    ),
)
# a few pieces many times, and an end that lets all of it fail
_REPEATED = st.builds(
    lambda pieces, end: ("".join(pieces) * (_LETTERS // len("".join(pieces)) + 1))[:_LETTERS] + end,
    st.lists(_PIECES, min_size=1, max_size=4),
    _PIECES,
)

_PATTERNS = st.text("abc.*+?()[]{}|^$\\dw0123,-:<>P=!é", max_size=60)

_PATCH_LINES = st.sampled_from(
    [
        "--- a/a.txt", "+++ b/a.txt", "--- /dev/null", "+++ /dev/null", "+++ b/../../evil.txt", "+++ /etc/evil",
        "--- a/new.txt", "+++ b/new.txt", "@@ -1,2 +1,2 @@", "@@ -1 +1 @@", "@@ -0,0 +1,3 @@",
        "@@ -99999999999999999999 +1 @@", "@@ @@", " one", "-one", "+two", " ", "-", "+", "",
        "\\ No newline at end of file",
        "diff --git a/a.txt b/a.txt", "rename from a.txt", "GIT binary patch", "\r", "\0", "\ud800",
    ]
)  # fmt: skip

_XML = st.lists(
    st.sampled_from(
        [
            "<testsuites>", "</testsuites>", "<testsuite>", "</testsuite>", "<testcase name='a' classname='b'>",
            "</testcase>", "<failure message='x'>", "</failure>", "<error/>", "<skipped type='x'/>", "<![CDATA[", "]]>",
            "<!DOCTYPE x [<!ENTITY a 'aa'>]>", "&a;", "&#0;", "&lt;", "<?xml version='1.0' encoding='utf-16'?>",
            "a", "\0",
            "<x a='1' a='2'/>", "\x85",
        ]
    ),
    max_size=20,
)  # fmt: skip
_ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"])

_KEYS = st.sampled_from(
    [
        "files",
        "a.py",
        "../b.py",
        "functions",
        "summary",
        "executed_lines",
        "num_statements",
        "covered_lines",
        "f",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=15,
)
_PYTHON = st.text("abdefclsrtun():[]{}=\"'\\\n\t #@*,.0123456789é\0", max_size=200)


@given(_REPEATED)
@settings(max_examples=30, deadline=None)
def test_a_repeated_text_is_scanned_redacted_and_keyed_in_bounded_time(text: str) -> None:
    began = time.process_time()

    scan(text)
    redact(text)
    canonical_key(text)

    assert time.process_time() - began < _HANG_SECONDS


@given(_PATTERNS, _REPEATED)
@settings(max_examples=150, deadline=None)
def test_any_pattern_of_a_client_is_refused_or_searches_in_bounded_time(expression: str, text: str) -> None:
    began = time.process_time()

    with suppress(ValueError):
        compile_pattern(expression).search(text)

    assert time.process_time() - began < _HANG_SECONDS


@given(st.lists(_PATCH_LINES, max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_patch_is_applied_below_its_root_or_refused_with_nothing_written(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "deep" / "root"
        root.mkdir(parents=True)
        (root / "a.txt").write_text("one\ntwo\n")

        try:
            patch_files("\n".join(lines), root)
        except PatchRejected as refusal:
            str(refusal).encode()
            assert [path.name for path in root.iterdir()] == ["a.txt"]
            assert (root / "a.txt").read_text() == "one\ntwo\n"

        written = [path for path in Path(folder).rglob("*") if path.is_file()]
        assert all(path.is_relative_to(root) for path in written)


@given(_XML, _ENCODINGS)
@settings(max_examples=300, deadline=None)
def test_any_report_of_tests_is_read_or_is_none(pieces: list[str], encoding: str) -> None:
    report = parse_test_report("".join(pieces).encode(encoding), [])

    assert report is None or {"passed", "failed"} <= report.keys()
    assert report is None or not encoding.startswith(("utf-16", "utf-32"))


@given(_JSON)
@settings(max_examples=200, deadline=None)
def test_any_report_of_coverage_is_read_or_is_none(report: object) -> None:
    found = parse_coverage(json.dumps(report).encode(), PurePosixPath("/src"))

    assert found is None or "files" in found


@given(_PYTHON)
@settings(max_examples=200, deadline=None)
def test_any_python_file_is_counted_or_is_an_error_of_that_file(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.py").write_text(text, encoding="utf-8")

        found = read_package(Path(folder))

    assert (found["files"], found["error_count"]) in {(1, 0), (1, 1)}
    assert len(found["errors"]) == found["error_count"]


@given(st.binary(max_size=2_000) | st.builds(lambda pieces: "".join(pieces).encode(), _XML))
@settings(max_examples=20, deadline=None)
def test_a_child_reads_the_same_as_this_process_or_refuses(content: bytes) -> None:
    with suppress(InvalidStepInput):
        assert limited(parse_test_report, "a report", limits=CallLimits(cpu_seconds=2))(content, []) in (
            None,
            json.loads(json.dumps(parse_test_report(content, []))),
        )
