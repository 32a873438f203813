"""The settings of a process: read from the environment, validated once, then frozen."""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import MISSING, Field, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.connections import server_url
from orchestrator.connections.forward_proxy import find_faults
from orchestrator.models import signing_key
from orchestrator.models.approval_policy import BY_DEFAULT, AskRule, parse_policy
from orchestrator.models.arm_capability import ARMS
from orchestrator.models.endpoint import KEY_SUFFIX, with_secrets
from orchestrator.models.errors import SettingsError
from orchestrator.models.task_contract import MAX_BUDGET_TOKENS, Budget, parse_dollars
from orchestrator.process.process_kind import KINDS, SIGN_FOR_ARMS, WITH_MODELS
from orchestrator.settings_file import DEFAULT_HOME, read_env_file, read_stack_file, with_values_of_files
from orchestrator.settings_models import ModelSettings
from orchestrator.settings_text import (
    Rate,
    any_text,
    integer,
    one_of,
    parse_commands,
    parse_hosts,
    parse_https_url,
    parse_index_url,
    parse_listen,
    parse_local_targets,
    parse_long_secret,
    parse_origins,
    parse_public_url,
    parse_rate,
    parse_seconds,
    parse_seconds_or_zero,
    parse_signing_secret,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class Settings(ModelSettings):
    """All settings; each is the environment variable of the same name in capitals. .env.example explains them."""

    database_url: str = setting(server_url.driver_url, secret=True)
    redis_url: str = setting(server_url.redis_url, secret=True)
    jwt_private_key: str | None = setting(signing_key.parse_key, default=None, secret=True)
    jwt_public_keys: tuple[tuple[str, str], ...] = setting(signing_key.parse_named_keys, default=())
    jwt_secret: str | None = setting(parse_signing_secret, default=None, secret=True)
    cache_secret: str | None = setting(parse_signing_secret, default=None, secret=True)
    webhook_secret: str | None = setting(parse_signing_secret, default=None, secret=True)
    arm_secret: str | None = setting(parse_signing_secret, default=None, secret=True)
    jwt_issuer: str = setting(any_text, default="octollm")
    jwt_audience: str = setting(any_text, default="octollm")
    permit_private_key: str | None = setting(signing_key.parse_key, default=None, secret=True)
    permit_public_key: str | None = setting(signing_key.parse_key, default=None)
    jwt_jwks_url: str | None = setting(parse_https_url, default=None)
    jwt_jwks_issuer: str | None = setting(any_text, default=None)
    jwt_ttl_seconds: int = setting(integer(minimum=1, maximum=86_400), default=3600)
    jwt_max_age_seconds: int = setting(integer(minimum=60, maximum=31_536_000), default=86_400)
    rate_limit: Rate = setting(parse_rate, default=Rate(100, 60))
    session_rate_limit: Rate = setting(parse_rate, default=Rate(600, 60))
    metrics_token: str | None = setting(parse_long_secret, default=None, secret=True)
    metrics_listen: tuple[str, int] | None = setting(parse_listen, default=None)
    failed_auth_limit: Rate = setting(parse_rate, default=Rate(100, 60))
    trusted_proxies: int = setting(integer(minimum=0, maximum=10), default=0)
    cors_origins: tuple[str, ...] = setting(parse_origins, default=())
    safety_policy: str = setting(one_of("off", "redact", "block"), default="redact")
    approval_policy: tuple[AskRule, ...] = setting(parse_policy, default=BY_DEFAULT)
    webhook_allowed_hosts: tuple[str, ...] = setting(parse_hosts, default=())
    webhook_local_targets: tuple[str, ...] = setting(parse_local_targets, default=())
    arm_allowed_hosts: tuple[str, ...] = setting(parse_hosts, default=())
    arm_local_targets: tuple[str, ...] = setting(parse_local_targets, default=())
    arm_ttl_seconds: int = setting(integer(minimum=1, maximum=86_400), default=90)
    tenant_max_arms: int = setting(integer(minimum=0, maximum=1000), default=20)
    approval_four_eyes: str = setting(one_of("on", "off"), default="off")
    public_url: str | None = setting(parse_public_url, default=None)
    max_open_tasks: int = setting(integer(minimum=1), default=10_000)
    tenant_max_streams: int = setting(integer(minimum=1), default=64)
    tenant_max_running_steps: int = setting(integer(minimum=1), default=64)
    tenant_max_queued_steps: int = setting(integer(minimum=1), default=10_000)
    tenant_max_schedules: int = setting(integer(minimum=0, maximum=10_000), default=100)
    tenant_max_stored_bytes: int = setting(integer(minimum=0), default=2**33)
    tenant_cpu_seconds_a_day: int = setting(integer(minimum=1), default=100_000)
    max_queued_steps: int = setting(integer(minimum=1), default=20_000)
    max_body_bytes: int = setting(integer(minimum=1024), default=2**20)
    max_file_bytes: int = setting(integer(minimum=1024, maximum=2**28), default=2**24)
    max_recorded_result_bytes: int = setting(integer(minimum=1024, maximum=2**28), default=2**20)
    max_parallel_arms: int = setting(integer(minimum=1, maximum=50), default=5)
    task_timeout: int = setting(integer(minimum=1), default=300)
    task_max_tokens: int = setting(integer(minimum=1, maximum=MAX_BUDGET_TOKENS), default=100_000)
    task_max_cost_dollars: Decimal = setting(parse_dollars, default=Decimal(1))
    cache_ttl: int = setting(integer(minimum=0), default=3600)
    lease_seconds: float = setting(parse_seconds, default=15.0)
    heartbeat_seconds: float = setting(parse_seconds, default=5.0)
    watchdog_seconds: float = setting(parse_seconds_or_zero, default=30.0)
    grace_seconds: float = setting(parse_seconds, default=30.0)
    sweep_seconds: float = setting(parse_seconds, default=1.0)
    redispatch_seconds: float = setting(parse_seconds, default=5.0)
    poison_step: int = setting(integer(minimum=1), default=3)
    require_row_level_security: str = setting(one_of("on", "off"), default="off")
    database_pool_size: int = setting(integer(minimum=1, maximum=500), default=8)
    executor_min_isolation: str = setting(one_of("basic", "strong"), default="basic")
    executor_commands: Mapping[str, tuple[str, ...]] | None = setting(parse_commands, default=None)
    pip_index_url: str | None = setting(parse_index_url, default=None, secret=True)
    environment_cache_dir: Path | None = setting(Path, default=None)
    environment_max_bytes: int = setting(integer(minimum=2**24, maximum=2**36), default=2**29)
    environment_cache_bytes: int = setting(integer(minimum=2**24), default=2**32)
    # the audit log's table forbids deleting entries that are less than a week old
    audit_retention_days: int = setting(integer(minimum=7), default=90)
    keep_model_answers: str = setting(one_of("on", "off"), default="on")
    retention_days: int = setting(integer(minimum=1), default=30)
    log_format: str = setting(one_of("auto", "json", "console"), default="auto")
    log_level: str = setting(one_of("debug", "info", "warning", "error"), default="info")
    arms_path: str = setting(any_text, default="")
    recipes_path: str = setting(any_text, default="")
    octollm_kind: str = setting(one_of(*KINDS), default="")
    alive_file: Path | None = setting(Path, default=None)
    octollm_home: Path = setting(Path, default=Path(DEFAULT_HOME))

    def __post_init__(self) -> None:
        if wrong := list(self._contradictions()):
            raise SettingsError("; ".join(wrong))

    def _contradictions(self) -> Iterator[str]:
        """Yield what is wrong with settings that are valid each by itself."""
        if self.heartbeat_seconds >= self.lease_seconds:
            yield (
                f"HEARTBEAT_SECONDS is {self.heartbeat_seconds:g}: set it below LEASE_SECONDS "
                f"({self.lease_seconds:g}), or every lease expires before it is renewed"
            )
        if self.jwt_ttl_seconds > self.jwt_max_age_seconds:
            yield (
                f"JWT_TTL_SECONDS is {self.jwt_ttl_seconds}: set it to at most JWT_MAX_AGE_SECONDS "
                f"({self.jwt_max_age_seconds}), or our own tokens are rejected"
            )
        calls_arms = self.arm_allowed_hosts or self.arm_local_targets
        if calls_arms and self.octollm_kind in SIGN_FOR_ARMS and not (self.arm_secret or self.jwt_secret):
            yield "ARM_ALLOWED_HOSTS or ARM_LOCAL_TARGETS is set: set ARM_SECRET too, which signs what arms are sent"
        if self.octollm_kind and self.octollm_kind not in WITH_MODELS:
            # such a process has the names of models, but no API keys
            return
        yield from self.unreachable_models()

    @property
    def budget(self) -> Budget:
        """The budget of a task whose client sets none."""
        return Budget(self.task_max_tokens, self.task_timeout, self.task_max_cost_dollars)

    @property
    def celery_result_backend(self) -> str:
        """The URL of Celery's result backend, whose scheme selects our class."""
        return "octollm+postgresql://" + self.database_url.removeprefix(server_url.DRIVER)


_NAMES = frozenset(item.name.upper() for item in fields(Settings))


class Signing(NamedTuple):
    """The settings for signing tokens."""

    jwt_private_key: str | None
    jwt_public_keys: tuple[tuple[str, str], ...]
    jwt_secret: str | None
    jwt_issuer: str
    jwt_audience: str
    jwt_ttl_seconds: int
    jwt_max_age_seconds: int


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read `environ` (default: os.environ and `.env`), then stack.env in OCTOLLM_HOME, which `octollm up` writes.

    A process with OCTOLLM_KIND reads only the environment, which holds all the settings of its kind. An empty value
    counts as unset. NAME_FILE names a file with the value of NAME. Raises SettingsError, which names every missing or
    wrong variable and what it must be.
    """
    texts = read_texts(environ)
    missing = [
        item.name.upper()
        for item in fields(Settings)
        if item.default is MISSING and item.name.upper() not in texts
    ]
    wrong = []
    if missing:
        wrong.append(
            f"{', '.join(missing)} must be set: see .env.example, or start everything with `octollm up`"
        )
    values: dict[str, Any] = {}
    for item in fields(Settings):
        if item.name.upper() in texts:
            try:
                values[item.name] = _value(item, texts)
            except SettingsError as error:
                wrong.append(error.message)
    try:
        values["llm_endpoints"] = with_secrets(values.get("llm_endpoints"), texts)
    except ValueError as error:
        wrong.append(str(error))
    wrong += _taken_by_arms()
    if wrong:
        raise SettingsError("; ".join(wrong))
    chosen = Settings(**values)
    if chosen.models or chosen.embeddings:
        _require_proxies(texts)
    return chosen


def _taken_by_arms() -> Iterator[str]:
    """Yield a message for each arm that claims a setting of ours for its own processes."""
    for arm in ARMS.values():
        if taken := sorted(_NAMES & set(arm.env)):
            yield (
                f"the manifest of the arm {arm.arm_id} names {', '.join(taken)} in env, which OctoLLM itself reads: "
                "give the arm's variable another name"
            )


def _require_proxies(environ: Mapping[str, str]) -> None:
    """Raise SettingsError for unusable proxies; their URLs may hold passwords and are not shown."""
    wrong = [f"{name} is wrong: its value is not {wanted}" for name, wanted in find_faults(environ).items()]
    if wrong:
        raise SettingsError("; ".join(wrong))


def load_signing(environ: Mapping[str, str] | None = None) -> Signing:
    """Read only the settings for signing tokens, from the same sources as `load`. Raises SettingsError."""
    texts = read_texts(environ)
    if not texts.keys() & {"JWT_PRIVATE_KEY", "JWT_SECRET"}:
        raise SettingsError(
            "JWT_PRIVATE_KEY must be set: it signs tokens; `octollm keys tokens` makes a pair of keys, "
            "`octollm up` makes its own"
        )
    known = {item.name: item for item in fields(Settings)}
    values: dict[str, Any] = {
        name: _value(known[name], texts) if name.upper() in texts else known[name].default
        for name in Signing._fields
    }
    return Signing(**values)


def drop_empty(environ: MutableMapping[str, str]) -> None:
    """Delete empty variables that the providers' SDKs read: OPENAI_BASE_URL= would make every call fail."""
    for name, text in list(environ.items()):
        if name.startswith(("OPENAI_", "ANTHROPIC_")) and not text.strip():
            del environ[name]


def read_texts(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the texts of all variables that are set, from the environment, its files and a stack's file.

    Raises SettingsError.
    """
    if environ is None:
        read_env_file()
        environ = os.environ
    given = {name: text.strip() for name, text in read_files(environ).items() if text.strip()}
    if "OCTOLLM_KIND" in given:
        return given
    stack = read_stack_file(Path(given.get("OCTOLLM_HOME") or DEFAULT_HOME))
    database = given.get("DATABASE_URL", stack.get("DATABASE_URL"))
    # another database means another system, for which the stack's keys are not meant
    return given if database != stack.get("DATABASE_URL") else stack | given


def read_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with DATABASE_URL for DATABASE_URL_FILE, and so for all settings. Raises SettingsError."""
    return with_values_of_files(environ, is_ours=lambda name: name in _NAMES or name.endswith(KEY_SUFFIX))


def _value(item: Field[Any], texts: Mapping[str, str]) -> Any:
    """Parse one setting. Raises SettingsError, without the text of a secret."""
    name = item.name.upper()
    try:
        return item.metadata["parse"](texts[name])
    except ValueError as error:
        shown = "its value" if item.metadata["secret"] else repr(texts[name])
        raise SettingsError(f"{name} is wrong: {shown} is not {error}") from None
