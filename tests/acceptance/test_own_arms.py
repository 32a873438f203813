"""A function becomes an arm of the whole product: as the page says, in a client's plan and in a model's."""

import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.settings_file import read_stack_file
from tests.acceptance.client import Client
from tests.acceptance.pasted import ROOT, SHELL, blocks_of, environ
from tests.fake_llm.server import FakeLLM
from tests.ws import WebSocket

pytestmark = pytest.mark.slow

UP = "ARMS_PATH=arms octollm up\n"
_NO_SERVERS = {"DATABASE_URL": "", "REDIS_URL": "", "OCTOLLM_URL": "", "OCTOLLM_TOKEN": ""}
PLAN = json.loads((ROOT / "examples/arms/weather/plan.json").read_text("utf-8"))


@dataclass(frozen=True)
class Running:
    """A stack that `octollm up` runs in a process of its own."""

    url: str
    home: Path

    def client(self, tenant: str) -> Client:
        """Return a client for a tenant."""
        chosen = settings.load(read_stack_file(self.home))
        return Client(self.url, credential.sign_token(chosen, tenant=tenant, key_id="tests", scopes=SCOPES))


@contextmanager
def up(command: str, *, cwd: Path, home: Path, more: Mapping[str, str]) -> Iterator[Running]:
    """Run a command that starts a stack, on any free port, until the block ends."""
    own = {
        **environ(home),
        "PORT": "0",
        "LOG_LEVEL": "warning",
        "OCTOLLM_ENV_FILE": "none",
        **_NO_SERVERS,
        **more,
    }
    # in place of the shell, so that the signal reaches it
    started = [*SHELL, f"exec env {command}"]
    with subprocess.Popen(
        started, cwd=cwd, env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("ready "), line
            yield Running(line.split()[1], home)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=90)


@pytest.fixture(scope="module")
def own(fake: FakeLLM) -> Iterator[Running]:
    """A stack with the example's arm and a fake model."""
    model = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": fake.openai_url, "LLM_CHAIN": "openai:fake-model"}
    example = {"ARMS_PATH": str(ROOT / "examples/arms/weather")}
    with (
        tempfile.TemporaryDirectory(prefix="octollm-own-") as folder,
        up("octollm up", cwd=ROOT, home=Path(folder), more={**model, **example}) as running,
    ):
        yield running


def test_a_client_s_plan_calls_a_function_and_its_progress_is_streamed(own: Running) -> None:
    client = own.client("acme")

    task_id = client.submit("Say how the weather of two cities usually is", plan=PLAN)
    stream = WebSocket.open(
        own.url, f"/v1/tasks/{task_id}/stream?after=0", headers={"Authorization": f"Bearer {client.token}"}
    )
    streamed = stream.rest(timeout=60)
    task = client.end_of(task_id)

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert task["result"]["data"]["both"]["values"]["berlin"] == "Berlin: up to 20 °C in 5 days"
    reports = [told["data"] for told in streamed if told["type"] == "step.progress"]
    assert {report["step"] for report in reports} == {"berlin", "sydney"}
    assert (reports[0]["percent"], reports[0]["message"]) == (20.0, "day 1 of 5")
    assert [told["seq"] for told in streamed] == list(range(1, len(streamed) + 1))
    table = next(item for item in client.trace(task_id) if item["data"].get("step") == "table")
    [file] = table["data"]["provenance"]["files"]
    stored = client.call("GET", f"/v1/files/{file}")
    assert "2026-07-19,20.0,0.45" in str(stored.body)


def test_an_author_s_error_is_the_step_s(own: Running) -> None:
    step = {"id": "a", "arm": "weather", "action": "forecast", "inputs": {"city": "Atlantis"}}

    client = own.client("acme")
    task = client.run(plan={"steps": [step]})

    failed = next(told for told in client.events(task["task_id"]) if told["type"] == "step.failed")
    assert failed["data"]["error"]["code"] == "unknown_city"
    assert "Atlantis" in failed["data"]["error"]["message"]


def test_a_model_plans_with_an_arm_that_only_its_manifest_and_its_function_describe(
    own: Running, fake: FakeLLM
) -> None:
    step = {
        "id": "look",
        "description": "Look it up",
        "arm": "weather",
        "action": "forecast",
        "inputs": {"city": "Lisbon", "days": 2, "start": "2026-07-18"},
        "depends_on": [],
        "acceptance_criteria": [
            {"text": "It names two days", "check": {"pointer": "/summary", "contains": "2 days"}}
        ],
    }
    fake.answer({"rationale": "look", "confidence": 0.9, "steps": [step]}, match="Plan this task")

    task = own.client("acme").run("How warm is Lisbon on 18 and 19 July?", cache={"mode": "bypass"})

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", True), task
    assert task["result"]["data"]["look"]["summary"] == "Lisbon: up to 23.5 °C in 2 days"
    told = next(request.text for request in fake.received if "Plan this task" in request.text)
    assert "weather: Says how warm and how wet it usually is in some cities, day by day." in told
    assert "weather.forecast(city: string, days?: integer 1-14, start?: string or null)" in told
    assert "city: its English name" in told


@pytest.mark.timeout(300)
def test_the_page_add_an_arm_in_five_minutes_works_as_it_is_written(tmp_path: Path) -> None:
    scripts = [script for language, script in blocks_of("docs/add-an-arm.md") if language == "sh"]
    before, after = scripts[: scripts.index(UP)], scripts[scripts.index(UP) + 1 :]
    home = tmp_path / "home"

    made = _paste(before, cwd=tmp_path, home=home)
    with up(UP, cwd=tmp_path, home=home, more={}):
        ran = _paste(after, cwd=tmp_path, home=home)

    assert (made.returncode, ran.returncode) == (0, 0), (made, ran)
    assert '"most_used"' in made.stdout
    assert "1 passed" in made.stdout
    assert '"celsius": 19.0' in made.stdout
    assert "Verdict: passed" in ran.stdout
    assert "looking for Berlin" in ran.stdout
    assert re.search(r"^weather .*healthy", ran.stdout, re.MULTILINE)


def _paste(scripts: list[str], *, cwd: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run blocks in one shell; the octollm of this Python finds the stack in `home`."""
    own = {**environ(home), "OCTOLLM_ENV_FILE": "none", **_NO_SERVERS, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [*SHELL, "".join(scripts)], cwd=cwd, env=own, capture_output=True, text=True, timeout=100, check=False
    )
