"""A report of pytest is counted correctly, and a malformed one is refused."""

from workers.arms.reports import read_test_report

REPORT = b"""<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest">
<testcase classname="tests.test_a.TestB" name="test_one[1.5]" file="tests/test_a.py" line="4" time="0.1">
  <failure message="assert 1 == 2">trace</failure></testcase>
<testcase classname="tests.test_a" name="test_two" file="tests/test_a.py" line="9" time="0.1" />
<testcase classname="tests.test_a" name="test_three" file="tests/test_a.py" line="12">
  <skipped /></testcase>
<testcase classname="" name="tests.test_c" time="0">
  <error message="collection failure">ImportError</error></testcase>
</testsuite></testsuites>"""


def test_outcomes_are_counted_and_failures_have_their_node_ids() -> None:
    report = read_test_report(REPORT)

    assert report is not None
    assert (report.passed, report.failed, report.errors, report.skipped, report.total) == (1, 1, 1, 1, 4)
    assert [(failure.test, failure.line, failure.message) for failure in report.failures] == [
        ("tests/test_a.py::TestB::test_one[1.5]", 5, "assert 1 == 2"),
        ("tests.test_c", 1, "collection failure"),
    ]


def test_a_report_with_a_document_type_or_cut_short_is_refused() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><testsuites><testcase name="&a;"/></testsuites>'

    assert read_test_report(bomb) is None
    assert read_test_report(REPORT[:-20]) is None
    assert read_test_report(b"") is None
