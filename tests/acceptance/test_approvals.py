"""Approvals with real processes: nothing runs until a person decides, by command, over HTTP or by a link."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref
from tests.waiting import wait_until

GATE = {"ask": "Collect it?", "by": "the desk"}


def waiting(client: Client, task_id: str) -> dict[str, Any]:
    """Wait until the task asks a person, and return the approval."""
    return wait_until(lambda: client.questions(task_id), 30, f"{task_id} to ask", every=0.1)[0]


def octollm(client: Client, *arguments: str) -> str:
    """Run the command as a user does; return its output."""
    command = [str(Path(sys.executable).with_name("octollm")), "--url", client.url, *arguments]
    environ = {**os.environ, "OCTOLLM_TOKEN": client.token}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_people_decide_by_command_over_http_and_by_link(stack: Stack, client: Client) -> None:
    """Three tasks wait at the same time: one is approved, one rejected, and one gets the answer to its question."""
    gated = {
        "steps": [collect("first", [1]), collect("then", [ref("first", "/values/0")], "first", approval=GATE)]
    }
    question = {
        "id": "ask",
        "arm": "human",
        "action": "answer",
        "inputs": {"question": "Which colour?", "schema": {"enum": ["red", "blue"]}},
    }
    answered = {"steps": [question, collect("use", [ref("ask")], "ask")]}
    approved_id, rejected_id = (client.submit(plan=gated, cache={"mode": "bypass"}) for _ in range(2))
    answered_id = client.submit(plan=answered)
    to_approve, to_reject, to_answer = (
        waiting(client, task_id) for task_id in (approved_id, rejected_id, answered_id)
    )
    message = client.task(approved_id)["message"]
    status = octollm(client, "status", approved_id)

    shown = octollm(client, "approve", to_approve["approval_id"], "--comment", "go on")
    rejection = {"decision": "reject", "proposal_hash": to_reject["proposal_hash"], "comment": "not today"}
    rejected = client.call("POST", f"/v1/approvals/{to_reject['approval_id']}/decision", rejection)
    link = client.call("POST", f"/v1/approvals/{to_answer['approval_id']}/link", {"for": "Zoë"})
    stranger = Client(client.url, "no token")
    opened = stranger.call("GET", link.body["url"])
    decided = stranger.call("POST", link.body["url"], {"decision": "answer", "answer": "blue"})
    again = stranger.call("POST", link.body["url"], {"decision": "answer", "answer": "red"})

    assert to_approve["proposal"]["inputs"] == {"values": [1]}
    assert "waiting for approval by the desk until" in message
    assert message in status
    assert "approved by acme/tests (cli)" in shown
    assert rejected.status == 200
    assert (opened.status, opened.body["kind"], opened.body["ask"]) == (200, "question", "Which colour?")
    assert (decided.status, decided.body["decided_by"], decided.body["via"]) == (200, "Zoë", "link")
    assert (again.status, again.body["code"]) == (409, "already_decided")
    ends = [client.end_of(task_id) for task_id in (approved_id, rejected_id, answered_id)]
    assert [end["status"] for end in ends] == ["completed", "failed", "completed"]
    steps = {step["step_id"]: step for step in ends[1]["steps"]}
    assert (steps["then"]["status"], steps["then"]["error"]["code"]) == ("failed", "approval_rejected")
    assert "not today" in steps["then"]["error"]["message"]
    assert "blue" in str(ends[2]["result"])
