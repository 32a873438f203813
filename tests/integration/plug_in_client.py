"""Runs one task of a client's plan over the API's app, and prints what it saw as JSON; a process of its own.

The arms of a process are fixed when it starts, so a test can't add some to its own.
"""

import json
import sys

from api.app import create_app
from orchestrator import settings
from orchestrator.auth.credential import SCOPES, sign_token
from orchestrator.cli import checks
from tests.integration.api.conftest import Caller
from tests.waiting import wait_until


def main() -> None:
    """Submit the plan of the command line, wait for the task's end, print status, arms and readiness."""
    loaded = settings.load()
    call = Caller(create_app(loaded), sign_token(loaded, tenant="acme", key_id="tests", scopes=SCOPES))
    submitted = call("POST", "/v1/tasks", json={"goal": "do it", "plan": json.loads(sys.argv[1])})
    assert submitted.status_code == 202, submitted.json
    task = f"/v1/tasks/{submitted.json['task_id']}"
    wait_until(lambda: call("GET", task).json["status"] in ("completed", "failed"), 60, "the end of the task")
    seen = {"task": task, "arms": "/v1/arms", "ready": "/ready", "metrics": "/metrics"}
    answers = {name: call("GET", path).get_data(as_text=True) for name, path in seen.items()}
    doctor = [f"{result.subject} {result.message} {result.advice}" for result in checks.postgres(loaded)]
    json.dump({**answers, "doctor": "\n".join(doctor)}, sys.stdout)


if __name__ == "__main__":
    main()
