"""The guardian tells what is where, and never repeats it."""

import json

from tests.unit.arm_kit import assignment, run

KEY = "AKIA" + "Q3EGRIN7XK4PVT2J"
MAIL = "jane.roe@northwind-traders.com"
TEXT = f"first line\nwrite to {MAIL}\n\naws_access_key_id = {KEY}\n"


def test_a_scan_names_kind_and_place_but_never_the_value() -> None:
    output = run(
        assignment("safety-guardian", "scan", files={"notes.txt": TEXT.encode(), "b.bin": b"\0"})
    ).output

    places = {
        (finding["kind"].split(".")[0], finding["file"], finding["line"]) for finding in output["findings"]
    }
    assert places == {("pii", "notes.txt", 2), ("secret", "notes.txt", 4)}
    assert (output["secret_count"], output["personal_count"], output["texts_scanned"]) == (1, 1, 1)
    assert output["skipped"] == [{"file": "b.bin", "reason": "binary"}]
    assert KEY not in json.dumps(output)
    assert MAIL not in json.dumps(output)


def test_a_column_points_at_the_finding() -> None:
    finding = run(assignment("safety-guardian", "scan", {"text": TEXT})).output["findings"][0]

    assert TEXT.splitlines()[finding["line"] - 1][finding["column"] - 1 :].startswith(MAIL)


def test_given_text_is_scanned_alone() -> None:
    output = run(assignment("safety-guardian", "scan", {"text": "harmless"}, context=TEXT)).output

    assert (output["texts_scanned"], output["finding_count"]) == (1, 0)


def test_the_context_is_scanned() -> None:
    output = run(assignment("safety-guardian", "scan", context={"note": MAIL})).output

    assert output["findings"][0]["file"] == "(context)"


def test_a_redacted_text_holds_nothing_any_more() -> None:
    output = run(assignment("safety-guardian", "redact", {"text": TEXT})).output

    assert KEY not in output["text"]
    assert MAIL not in output["text"]
    assert "first line" in output["text"]
    assert output["replaced"] == 2
    assert run(assignment("safety-guardian", "scan", {"text": output["text"]})).output["finding_count"] == 0
