"""Requests generated from the OpenAPI description, valid or not, get no 5xx and only described responses."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.waiting import wait_until

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# only-if-cached without a cached result gets 504 (RFC 9111, 5.2.1.7)
_EXPECTED = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]\n'


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ids", ["made up", "real"])
def test_valid_and_invalid_requests_get_described_responses(
    client: Client, tmp_path: Path, request: pytest.FixtureRequest, ids: str
) -> None:
    """Positive and negative generation for all operations, with random ids and with existing ones."""
    seed = request.config.getoption("--hypothesis-seed") or "1"
    config = tmp_path / "schemathesis.toml"
    config.write_text(_EXPECTED + (_real_ids(client) if ids == "real" else ""))

    tried = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={config}",
            "run",
            f"{client.url}/openapi.json",
            f"--header=Authorization: Bearer {client.token}",
            "--mode=all",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=20",
            f"--seed={seed}",
            f"--checks={','.join(CHECKS)}",
            "--request-timeout=20",
            "--suppress-health-check=all",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert tried.returncode == 0, tried.stdout[-10_000:] + tried.stderr[-2000:]
    generated = re.search(r"(\d+) generated, (\d+) passed", tried.stdout)
    assert generated is not None, tried.stdout[-2000:]
    assert int(generated[1]) >= 500
    assert generated[1] == generated[2]


def _real_ids(client: Client) -> str:
    task_id = client.submit(plan={"steps": [wait("a", 0.1)]})
    file_id = client.upload(b"some content", filename="notes.txt")
    client.end_of(task_id)
    approval_id, link = _asked(client)
    ids = {
        "task_id": task_id,
        "step_id": "a",
        "artifact_id": file_id,
        "approval_id": approval_id,
        "link": link,
        "schedule_id": _scheduled(client, "tried"),
    }
    given = "[parameters]\n" + "".join(f'"path.{name}" = "{value}"\n' for name, value in ids.items())
    # else the others would find none
    deleted = _scheduled(client, "deleted")
    return (
        f'{given}[[operations]]\ninclude-name = "DELETE /v1/schedules/{{schedule_id}}"\n'
        f'[operations.parameters]\n"path.schedule_id" = "{deleted}"\n'
    )


def _scheduled(client: Client, name: str) -> str:
    contract = {"goal": "do it", "plan": {"steps": [wait("a", 0.1)]}}
    made = client.call(
        "POST",
        "/v1/schedules",
        {"name": name, "contract": contract, "every_seconds": 86_400, "overlap": "allow"},
    )
    assert made.status == 201, made
    return str(made.body["schedule_id"])


def _asked(client: Client) -> tuple[str, str]:
    """Return a pending approval, and the last part of a link to another one."""

    def pending(task_id: str) -> list[dict[str, Any]]:
        return list(client.call("GET", f"/v1/approvals?task_id={task_id}").body["approvals"])

    found = []
    for _ in range(2):
        task_id = client.submit(
            plan={"steps": [wait("a", approval={"ask": "Wait?"})]}, cache={"mode": "bypass"}
        )
        found.append(wait_until(partial(pending, task_id), 30, "an approval")[0]["approval_id"])
    link = client.call("POST", f"/v1/approvals/{found[1]}/link", {"for": "Zoë"}).body["url"]
    return found[0], link.rpartition("/")[2]
