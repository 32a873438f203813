"""`octollm models` tests the models and shows to every process what was learned, with prices and speed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.checks import CheckStatus
from orchestrator.cli.doctor import check_models
from orchestrator.cli.models import describe, models
from orchestrator.connections.redis_client import open_client
from orchestrator.llm.capabilities import LEARNED_SECONDS, LearnedFacts
from orchestrator.llm.model_probe import key_of
from orchestrator.settings import Settings, load
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM, Scripted


@pytest.fixture
def fake() -> Iterator[FakeLLM]:
    with FakeLLM() as running:
        yield running


@pytest.fixture
def environ(
    fake: FakeLLM, our_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    path = tmp_path / "models.toml"
    path.write_text(
        f'[local]\nurl = "{fake.openai_url}"\ncontext_window = 4096\n'
        f'[priced]\nurl = "{fake.openai_url}"\nprices = {{"*" = {{input = 0.5, output = 2}}}}\n'
    )
    chosen = {
        "DATABASE_URL": "postgresql://nowhere/db",
        "REDIS_URL": our_settings.redis_url,
        "JWT_SECRET": "s" * 40,
        "OCTOLLM_HOME": str(tmp_path),
        "OCTOLLM_ENV_FILE": "none",
        "LLM_ENDPOINTS": str(path),
        "LLM_CHAIN": "local:qwen,priced:m",
    }
    for name, text in chosen.items():
        monkeypatch.setenv(name, text)
    return chosen


def listed() -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(models, ["--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return {model["name"]: model for model in json.loads(done.stdout)}


def test_a_test_is_remembered_for_all_processes(fake: FakeLLM, environ: dict[str, str]) -> None:
    # a server that ignores response_format
    fake.add(Scripted(ignores_schema=True, stays=True))

    done = CliRunner().invoke(models, ["test", "local"], standalone_mode=False)

    assert done.return_value == 0
    known = listed()
    assert known["local:qwen"]["learned"] == {"json_object": True, "json_schema": False}
    tested = known["local:qwen"]["tested"]
    assert isinstance(tested, dict)
    assert (tested["test"], tested["reports_usage"]) == ("ok", "yes")
    assert float(tested["tokens_per_second"]) > 0
    assert known["priced:m"]["tested"] is None
    client = open_client(environ["REDIS_URL"])
    key = f"octollm:llm:{{{key_of(load(environ), load(environ).models[0])}}}:learned"
    assert 0 < client.ttl(key) <= LEARNED_SECONDS


@pytest.mark.usefixtures("environ")
def test_an_unknown_price_is_null_and_an_endpoints_price_is_shown() -> None:
    known = listed()

    assert known["local:qwen"]["price"] is None
    assert known["priced:m"]["price"] == {"input": 0.5, "output": 2.0}
    assert known["local:qwen"]["context_window"] == 4096


def test_a_failed_test_is_shown_by_doctor(fake: FakeLLM, environ: dict[str, str]) -> None:
    fake.fail(Fault.UNAUTHORISED)

    done = CliRunner().invoke(models, ["test", "priced:m"], standalone_mode=False)

    assert done.return_value == 1
    known = load(environ)
    described = list(describe(known, LearnedFacts(open_client(known.redis_url))))
    results = list(check_models(described))
    assert [result.status for result in results] == [CheckStatus.OK, CheckStatus.FAILURE]
    assert "octollm models test priced:m" in results[1].advice


@pytest.mark.usefixtures("environ")
def test_a_model_that_is_not_configured_is_refused() -> None:
    done = CliRunner().invoke(models, ["test", "nowhere"])

    assert done.exit_code != 0
    assert "nowhere is not configured; the models are: local:qwen, priced:m" in done.output
