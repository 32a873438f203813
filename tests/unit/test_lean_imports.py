"""Each kind of process imports what its work needs, and no more: checked in fresh processes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

WEB = ("flask", "werkzeug", "marshmallow", "apispec", "gunicorn")
MODELS = ("openai", "anthropic", "httpx", "httpx2", "genai_prices")
OPTIONAL = ("rich", "pygments", "yaml", "psutil", "opentelemetry", "prompt_toolkit", "flower", "tornado")
ORM = ("sqlalchemy.orm",)
RULES = ("orchestrator.safety.injection", "orchestrator.similarity.tokens", "phonenumbers", "re2")
MIGRATIONS = ("alembic", "mako")
WORKER = (*WEB, *MODELS, *OPTIONAL, *ORM, *RULES, *MIGRATIONS)
# of a worker that has no tools, and plans and judges nothing
OTHERS_WORK = (
    "workers.attempt.planning",
    "workers.attempt.judging",
    "workers.webhook",
    "workers.sandbox.backend_bubblewrap",
    "workers.sandbox.seccomp",
)
_SAY = "import json, sys; print(json.dumps([name for name, module in sys.modules.items() if module]))"
_DATABASE = "import orchestrator.chord.backend, sqlalchemy.dialects.postgresql"
_LEAN = "from orchestrator.process.lean import start_lean; start_lean()"
PROCESSES = {
    "worker": (
        f"{_LEAN}; import celery.bin.worker, celery.apps.worker, workers.tasks; {_DATABASE}",
        (*WORKER, *OTHERS_WORK),
    ),
    "sweeper": (f"{_LEAN}; import workers.sweeper; {_DATABASE}", WORKER),
    "api": ("import api.server", (*MODELS, *OPTIONAL, *ORM, *MIGRATIONS, "workers")),
}


@pytest.mark.parametrize("kind", PROCESSES)
def test_a_process_imports_nothing_that_its_kind_does_not_need(kind: str) -> None:
    program, unwanted = PROCESSES[kind]

    loaded = _loaded(program)

    assert [name for name in unwanted if name in loaded] == []
    assert "orchestrator.bootstrap" in loaded


def test_the_api_has_loaded_before_its_first_request_what_each_post_uses() -> None:
    loaded = _loaded("import api.server")

    wanted = ("api.app", "orchestrator.safety.injection", "orchestrator.similarity.tokens")
    assert [name for name in wanted if name not in loaded] == []


def test_a_process_that_started_lean_reads_an_operator_s_recipes_in_yaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECIPES_PATH", str(Path(__file__).parents[2] / "examples" / "recipes"))

    loaded = _loaded(
        f"{_LEAN}; from orchestrator.planner.recipes import loaded; assert 'log-report' in loaded().by_name"
    )

    assert "yaml" in loaded


def test_a_worker_that_started_lean_can_call_mcp_servers() -> None:
    """The SDK of MCP imports one of the libraries that workers otherwise do without."""
    loaded = _loaded(f"{_LEAN}; import workers.arms.mcp")

    assert "mcp.shared._otel" in loaded


@cache
def _loaded(program: str) -> Sequence[str]:
    """Return the modules of a fresh process after `program`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; {_SAY}"], check=True, capture_output=True, text=True, timeout=120
    )
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return loaded
