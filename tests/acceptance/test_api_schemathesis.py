"""Requests generated from the OpenAPI description, valid or not, get no 5xx and only described responses."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.client import Client
from tests.acceptance.plans import wait

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
    return f'[parameters]\n"path.task_id" = "{task_id}"\n"path.artifact_id" = "{file_id}"\n'
