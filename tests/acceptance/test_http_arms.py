"""The example of an HTTP arm with real processes: it registers itself, works, and is missed when it dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.conftest import client_of
from tests.waiting import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "arms" / "http"
ARM = "acme/thermometer"


@contextmanager
def running(client: Client, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the example's own program until the block ends."""
    environ = {**os.environ, "OCTOLLM_URL": client.url, "OCTOLLM_TOKEN": client.token}
    program = subprocess.Popen([sys.executable, "run.py", str(port)], cwd=EXAMPLE, env=environ)
    try:
        yield program
    finally:
        program.kill()
        program.wait(10)


def arms_of(client: Client) -> dict[str, Any]:
    return {arm["arm_id"]: arm for arm in client.call("GET", "/v1/arms").body["arms"]}


def status_of(client: Client) -> str | None:
    arm = arms_of(client).get(ARM)
    return str(arm["status"]) if arm else None


def convert(celsius: float, *, arm: str = "thermometer") -> dict[str, Any]:
    step = {"id": "convert", "arm": arm, "action": "convert", "inputs": {"celsius": celsius}}
    return {"steps": [step], "result": {"$from": "convert", "pointer": "/fahrenheit"}}


def test_an_arm_registers_itself_does_steps_and_is_unavailable_when_it_dies(
    stack: Stack, client: Client, arm_port: int
) -> None:
    stranger = client_of(stack, tenant="umbrella")
    with running(client, arm_port) as program:
        wait_until(lambda: status_of(client) == "healthy", 40, "the arm to register")

        worked = client.run(plan=convert(100))
        refused = client.run(plan=convert(-300))
        program.send_signal(signal.SIGKILL)
        wait_until(lambda: status_of(client) == "unavailable", 40, "the arm to be missed")
        outage = arms_of(client)[ARM]["metadata"]["outage"]

    assert (worked["status"], worked["result"]["data"]) == ("completed", 212)
    assert refused["status"] == "failed"
    assert "too_cold" in str(client.events(refused["task_id"]))
    assert outage == "it has sent no heartbeat"
    assert ARM not in arms_of(stranger)
    for name in (ARM, "thermometer"):
        answer = stranger.call("POST", "/v1/tasks", {"goal": "do it", "plan": convert(1, arm=name)})
        assert (answer.status, answer.body["details"]["errors"][0]["field"]) == (422, "steps.0.arm")


def test_a_host_that_the_operator_did_not_allow_is_refused(client: Client) -> None:
    action = {"description": "Does it.", "effects": "none"}
    arm = {"arm_id": "elsewhere", "description": "Runs elsewhere", "actions": {"do": action}}

    for url in ("https://example.com/", "http://127.0.0.1:1/", "https://169.254.169.254/"):
        answer = client.call("POST", "/v1/arms/register", {**arm, "url": url})

        assert (answer.status, answer.body["details"]["errors"][0]["field"]) == (422, "url")
