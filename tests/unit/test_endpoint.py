"""The file of LLM_ENDPOINTS names further servers of models; only processes that ask models get their keys."""

from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.llm.pricing import prices_of
from orchestrator.llm.provider import Usage
from orchestrator.models.errors import SettingsError
from orchestrator.models.model_choice import ModelName, Price
from orchestrator.process.process_kind import environment_of

LOCAL = """
[local]
url = "http://localhost:8080/v1/"
context_window = 32768
output_limit = 4096
[local.prices]
"*" = {input = 0, output = 0}
"big-*" = {input = 0.1, output = 0.4}
[local.capabilities]
json_schema = false
"""
AZURE = """
[azure]
url = "https://me.openai.azure.com/openai/v1"
key = "AZURE_API_KEY"
api_version = "preview"
token_command = "az account get-access-token --query accessToken -o tsv"
[azure.headers]
x-team = "search"
x-gateway-key = "$GATEWAY_API_KEY"
"""
NEEDED = {
    "DATABASE_URL": "postgresql://nowhere/db",
    "REDIS_URL": "redis://nowhere/0",
    "JWT_SECRET": "s" * 40,
}
KEYS = {"AZURE_API_KEY": "azure-key", "GATEWAY_API_KEY": "gateway-key"}


def environ(directory: Path, text: str, **others: str) -> dict[str, str]:
    path = directory / "models.toml"
    path.write_text(text)
    return {**NEEDED, "OCTOLLM_HOME": str(directory), "LLM_ENDPOINTS": str(path), **others}


def test_a_chain_names_endpoints_beside_providers(tmp_path: Path) -> None:
    known = settings.load(
        environ(tmp_path, LOCAL, OPENAI_API_KEY="k", LLM_CHAIN="openai:gpt-6,local:Qwen/qwen3:8b")
    )

    assert known.models == (ModelName("openai", "gpt-6"), ModelName("local", "Qwen/qwen3:8b"))
    local = known.endpoint("local")
    assert local is not None
    assert (local.protocol, local.url, local.api_key) == ("openai", "http://localhost:8080/v1", None)
    assert (local.context_window, local.output_limit) == (32768, 4096)
    assert local.capabilities == {"json_schema": False}
    assert local.prices["big-*"] == Price(Decimal("0.1"), Decimal("0.4"))


def test_keys_and_secret_headers_come_from_variables(tmp_path: Path) -> None:
    known = settings.load(environ(tmp_path, AZURE, LLM_CHAIN="azure:gpt", **KEYS))

    azure = known.endpoint("azure")
    assert azure is not None
    assert (azure.api_key, azure.api_version) == ("azure-key", "preview")
    assert azure.headers == {"x-team": "search", "x-gateway-key": "gateway-key"}
    assert azure.token_command[:3] == ("az", "account", "get-access-token")
    assert "azure-key" not in repr(known)
    assert "gateway-key" not in repr(known)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"LLM_CHAIN names azure: set AZURE_API_KEY, GATEWAY_API_KEY"):
        settings.load(environ(tmp_path, AZURE, LLM_CHAIN="azure:gpt"))


def test_only_processes_that_ask_models_get_the_keys(tmp_path: Path) -> None:
    whole = environ(tmp_path, AZURE, LLM_CHAIN="azure:gpt", **KEYS)

    for kind, is_given in (("web", False), ("executor", False), ("planner", True), ("coder", True)):
        given = environment_of(kind, whole)
        assert (KEYS.keys() <= given.keys()) is is_given
        assert settings.load(given).models == (ModelName("azure", "gpt"),)


@pytest.mark.parametrize("setting", ["LLM_CHAIN", "EMBEDDINGS"])
def test_an_unknown_endpoint_is_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SettingsError, match=rf"{setting} names locl, which is neither a provider"):
        settings.load(environ(tmp_path, LOCAL, **{setting: "locl:m"}))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[local]\n", r"local.url is missing"),
        ("[local]\nurl = 5\n", r"local.url must be a string"),
        ('[local]\nurl = "ftp://x"\n', r"local.url must be http"),
        ('[openai]\nurl = "http://x"\n', r"\[openai\] must be a table"),
        ('[local]\nurl = "http://x"\nkey = "sk-123"\n', r"local.key must be the name of a variable"),
        ('[local]\nurl = "http://x"\nmodel = "m"\n', r"local.model is unknown; use protocol"),
        ('[local]\nurl = "http://x"\nprotocol = "grpc"\n', r"local.protocol must be one of"),
        ('[local]\nurl = "http://x"\noutput_limit = 0\n', r"local.output_limit must be a whole number"),
        ('[local]\nurl = "http://x"\nprices = {"*" = {input = 1}}\n', r"local.prices must be prices"),
        ('[local]\nurl = "http://x"\ncapabilities = {speed = true}\n', r"local.capabilities must be"),
        ('[local]\nurl = "http://x"\nheaders = {"a b" = "c"}\n', r"local.headers must be"),
        ("[local\n", r"TOML file that can be read"),
    ],
)
def test_a_wrong_file_is_refused_with_the_member(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=rf"LLM_ENDPOINTS is wrong: .*{fault}"):
        settings.load(environ(tmp_path, text))


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"LLM_ENDPOINTS is wrong: .*FileNotFoundError"):
        settings.load({**environ(tmp_path, ""), "LLM_ENDPOINTS": str(tmp_path / "none.toml")})


def test_an_endpoints_prices_hold_for_patterns_of_models(tmp_path: Path) -> None:
    own = '{"local:big-2": {"input": 1, "output": 0}}'
    prices = prices_of(settings.load(environ(tmp_path, LOCAL, LLM_PRICES=own)))

    used = Usage(1_000_000, 0)
    assert prices.cost(ModelName("local", "small"), used) == 0
    assert prices.cost(ModelName("local", "big-1"), used) == Decimal("0.1")
    assert prices.cost(ModelName("local", "big-2"), used) == 1
    assert prices.cost(ModelName("other", "small"), used) is None
