"""Approvals on the command line: what is shown before a person decides, and in the progress of a task."""

from datetime import datetime
from typing import Any

from orchestrator.cli.approvals import lines_of
from orchestrator.cli.output import printable
from orchestrator.cli.progress import TaskProgress
from orchestrator.cli.watch import line_of
from tests.unit.recorded import TASK_ID, events, step

ID = "appr_0PxK3mQa7Zb81CdE"
PENDING: dict[str, Any] = {
    "approval_id": ID,
    "task_id": TASK_ID,
    "step_id": "write",
    "round": 1,
    "kind": "approval",
    "state": "pending",
    "ask": "Write the report?",
    "by": "the desk",
    "allow": ["approve", "edit", "reject"],
    "proposal": {"arm": "files", "action": "write", "inputs": {"path": "a.txt", "text": "é"}, "effect": None},
    "proposal_hash": "0" * 64,
    "answer_schema": None,
    "requested_at": "2026-11-22T12:00:00.000Z",
    "expires_at": "2026-11-22T13:00:00.000Z",
    "on_expiry": "reject",
    "decided_by": None,
    "decided_at": None,
    "via": None,
    "comment": "",
    "value": None,
}
REQUESTED = {
    "approval_id": ID,
    "step": "write",
    "kind": "approval",
    "ask": "Write the report?",
    "by": "the desk",
    "allow": ["approve", "reject"],
    "expires_at": "2026-11-22T13:00:00+00:00",
}


UNTIL = f"{datetime.fromisoformat('2026-11-22T13:00:00Z').astimezone():%Y-%m-%d %H:%M:%S}"


def shown(**changed: Any) -> list[str]:
    return list(lines_of({**PENDING, **changed}))


def local(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def test_a_pending_approval_shows_what_runs_who_decides_and_how() -> None:
    assert [line.strip() for line in shown()] == [
        f"{ID}  waits for approval by the desk until {UNTIL}, then rejected",
        f"{TASK_ID}, step write, round 1: files.write",
        "Write the report?",
        'inputs {"path": "a.txt", "text": "é"}',
        f"decide: octollm approve {ID} | octollm approve {ID} --inputs JSON | octollm reject {ID} --comment TEXT",
    ]


def test_a_question_shows_the_schema_of_its_answer() -> None:
    lines = shown(kind="question", allow=["answer", "reject"], answer_schema={"type": "integer"})

    assert '    the answer\'s schema: {"type": "integer"}' in lines
    assert f"octollm answer {ID} JSON" in lines[-1]


def test_a_decided_approval_shows_who_decided_and_no_commands() -> None:
    decided = {
        "decided_by": "acme/k1",
        "decided_at": "2026-11-22T12:30:00.000Z",
        "via": "link",
        "comment": "fine",
    }

    lines = shown(state="run_again", **decided)

    assert lines[0] == f"{ID}  run again by acme/k1 (link) at {local(decided['decided_at'])}"
    assert lines[-1] == "    comment: fine"


def test_long_inputs_are_shortened_in_a_list_and_say_so() -> None:
    proposal = {**PENDING["proposal"], "inputs": {"text": "x" * 5_000}}

    [listed] = [line for line in shown(proposal=proposal) if line.startswith("    inputs")]
    [whole] = [line for line in lines_of({**PENDING, "proposal": proposal}, whole=True) if "inputs {" in line]

    assert listed.endswith(f"... (4012 more characters: octollm approvals {ID})")
    assert "x" * 5_000 in whole


def test_texts_of_others_cannot_move_the_cursor_or_reorder_a_line() -> None:
    hostile = "safe\x1b[2K\rrm\u202e\u2066\x9b1A\nnext"

    assert printable(hostile) == r"safe\x1b[2K\rrm\u202e\u2066\x9b1A\nnext"
    for changed in (
        {"ask": hostile},
        {"by": hostile},
        {"step_id": hostile},
        {"proposal": {"arm": hostile, "action": hostile, "inputs": {hostile: 1}, "effect": {hostile: 1}}},
        {"answer_schema": {"title": hostile}},
        {"state": "approved", "decided_by": hostile, "decided_at": PENDING["expires_at"], "via": "link"},
    ):
        assert all(line.isprintable() for line in shown(**changed))


def test_the_progress_of_a_task_says_who_decides_until_when_and_how() -> None:
    progress = TaskProgress(TASK_ID)
    lines = []
    for event in events(
        ("task.planned", {"mode": "client", "steps": [{"step": "write", "arm": "files"}]}),
        ("approval.requested", REQUESTED),
        ("approval.expiring", REQUESTED),
        (
            "approval.decided",
            {**REQUESTED, "state": "rejected", "decided_by": "acme/k1", "comment": "not now"},
        ),
        ("step.failed", step("write", "files", error={"code": "approval_rejected", "message": "not now"})),
    ):
        progress.apply(event)
        lines.append((progress.steps["write"].state, " ".join(line_of(progress, event).split()[2:])))

    how = f"octollm approve {ID} | octollm reject {ID} --comment TEXT"
    assert lines[1:4] == [
        ("asking", f"write files waiting for approval by the desk until {UNTIL}: {how}"),
        (
            "asking",
            f"write files expires soon: waiting for approval by the desk until {UNTIL}: {how}",
        ),
        ("asking", "write files rejected by acme/k1: not now"),
    ]
    assert lines[4][0] == "failed"
