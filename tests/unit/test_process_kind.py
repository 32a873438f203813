"""Each kind of process gets the secrets that its work needs and no others."""

from dataclasses import fields

import pytest

from orchestrator import settings
from orchestrator.devserver.service import read_procfile
from orchestrator.models import signing_key
from orchestrator.models.errors import SettingsError
from orchestrator.process.process_kind import KINDS, SECRETS, environment_of

KEY = signing_key.new_private_key()
WHOLE = {
    "DATABASE_URL": "postgresql://nowhere/db",
    "REDIS_URL": "redis://nowhere/0",
    "JWT_PRIVATE_KEY": KEY,
    "JWT_SECRET": "s" * 40,
    "CACHE_SECRET": "c" * 40,
    "WEBHOOK_SECRET": "w" * 40,
    "ARM_SECRET": "a" * 40,
    "PERMIT_PRIVATE_KEY": KEY,
    "PERMIT_PUBLIC_KEY": signing_key.public_key_of(KEY),
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "https://user:password@models",
    "OPENAI_ORG_ID": "org",
    "ANTHROPIC_API_KEY": "sk-2",
    "ANTHROPIC_AUTH_TOKEN": "t",
    "ANTHROPIC_BASE_URL": "https://models",
    "FLOWER_BASIC_AUTH": "me:secret",
    "METRICS_TOKEN": "m" * 40,
    "LEASE_SECONDS": "7",
}
MODELS = {
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
}
OPEN = {"DATABASE_URL", "REDIS_URL", "PERMIT_PUBLIC_KEY", "LEASE_SECONDS"}
EXPECTED = {
    "arms": {"CACHE_SECRET", "METRICS_TOKEN"},
    "web": {"JWT_PRIVATE_KEY", "JWT_SECRET", "CACHE_SECRET", "ARM_SECRET", "METRICS_TOKEN"},
    "planner": {"PERMIT_PRIVATE_KEY", "CACHE_SECRET", *MODELS, "METRICS_TOKEN"},
    "judge": {"PERMIT_PRIVATE_KEY", "CACHE_SECRET", *MODELS, "METRICS_TOKEN"},
    "retriever": {"CACHE_SECRET", *MODELS, "METRICS_TOKEN"},
    "writer": {"CACHE_SECRET", *MODELS, "METRICS_TOKEN"},
    "coder": {"CACHE_SECRET", *MODELS, "METRICS_TOKEN"},
    "executor": {"CACHE_SECRET", "METRICS_TOKEN"},
    "guardian": {"CACHE_SECRET", "METRICS_TOKEN"},
    "remote": {"CACHE_SECRET", "ARM_SECRET", "METRICS_TOKEN"},
    "webhook": {"WEBHOOK_SECRET", "METRICS_TOKEN"},
    "sweeper": {"METRICS_TOKEN"},
    "flower": {"FLOWER_BASIC_AUTH"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_gets_these_secrets_and_no_others(kind: str) -> None:
    given = environment_of(kind, WHOLE)

    assert set(given) & set(WHOLE) - OPEN == EXPECTED[kind]
    assert set(given) >= OPEN


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_can_start_with_what_it_gets_and_sees_the_same_models(kind: str) -> None:
    chosen = settings.load(WHOLE)

    its_own = settings.load(environment_of(kind, WHOLE, models=chosen.models))

    assert its_own.models == chosen.models
    assert its_own.octollm_kind == kind


def test_a_kind_without_keys_gets_the_models_names_and_any_other_process_needs_the_key() -> None:
    environ = {**WHOLE, "OPENAI_API_KEY": "", "OPENAI_BASE_URL": "", "LLM_CHAIN": "openai:m"}

    settings.load(environment_of("executor", environ))
    for refused in (environ, environment_of("planner", environ)):
        with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
            settings.load(refused)


def test_every_secret_setting_and_every_procfile_line_is_in_the_tables() -> None:
    addresses = {"DATABASE_URL", "REDIS_URL"}
    secrets = {item.name.upper() for item in fields(settings.Settings) if item.metadata["secret"]}

    assert secrets - addresses == {name for name in SECRETS if name != "FLOWER_BASIC_AUTH"} | {
        name for name in MODELS if name in secrets
    }
    assert set(KINDS) == set(read_procfile()) - {"release"}
