"""Settings: which values are accepted, and the messages about wrong ones."""

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.models import signing_key
from orchestrator.models.errors import SettingsError
from orchestrator.settings import Settings
from orchestrator.settings_file import STACK_FILE
from orchestrator.settings_text import Rate

ROOT = Path(__file__).parents[2]
PASSWORD = "hunter2-hunter2"
NEEDED = {
    "DATABASE_URL": f"postgresql://octo:{PASSWORD}@db:5432/octollm",
    "REDIS_URL": f"redis://:{PASSWORD}@cache:6379/0",
    "JWT_SECRET": "s3cret" * 8,
}


@pytest.fixture
def needed(tmp_path: Path) -> dict[str, str]:
    return NEEDED | {"OCTOLLM_HOME": str(tmp_path)}


def test_defaults_are_those_of_the_example_file(needed: dict[str, str]) -> None:
    example = {name: text for name, text in _example().items() if text and name in _names()}

    loaded = settings.load(needed)
    from_example = settings.load(example | needed)

    assert from_example == loaded


def test_the_example_file_names_every_setting_and_no_other_variable() -> None:
    procfile = set(re.findall(r"\$\{?([A-Z][A-Z_0-9]*)", (ROOT / "Procfile").read_text()))
    supervisors, libraries = {"HONCHO_PROCESS_NAME"}, {"PROMETHEUS_MULTIPROC_DIR"}

    assert set(_example()) == _names() | procfile - supervisors | libraries


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_setting_without_a_default_is_required(
    needed: dict[str, str], name: str, value: str | None
) -> None:
    environ = {key: text for key, text in needed.items() if key != name}
    if value is not None:
        environ[name] = value

    with pytest.raises(SettingsError, match=name):
        settings.load(environ)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h/d",
        "postgresql://u:p@h/d",
        "postgresql+psycopg://u:p@h/d",
        "postgresql+psycopg2://u:p@h/d",
    ],
)
def test_a_postgres_url_gets_our_driver_and_our_result_backend(needed: dict[str, str], url: str) -> None:
    loaded = settings.load(needed | {"DATABASE_URL": url})

    assert loaded.database_url == "postgresql+psycopg2://u:p@h/d"
    assert loaded.celery_result_backend == "octollm+postgresql://u:p@h/d"


def test_an_empty_value_counts_as_unset(needed: dict[str, str]) -> None:
    loaded = settings.load(needed | {"OPENAI_API_KEY": "", "MAX_PARALLEL_ARMS": " "})

    assert loaded.openai_api_key is None
    assert loaded.max_parallel_arms == 5


def test_a_setting_is_read_from_the_file_that_its_file_variable_names(
    needed: dict[str, str], tmp_path: Path
) -> None:
    for name in ("DATABASE_URL", "OPENAI_API_KEY", "TASK_TIMEOUT"):
        (tmp_path / name).write_text(f"{needed.pop(name, '77')}\n")
        needed[f"{name}_FILE"] = str(tmp_path / name)
    needed |= {"CACHE_SECRET_FILE": " ", "OCTOLLM_ENV_FILE": "none", "OTHER_FILE": "/nowhere"}

    loaded = settings.load(needed)

    assert loaded.database_url.endswith(f"{PASSWORD}@db:5432/octollm")
    assert (loaded.openai_api_key, loaded.task_timeout, loaded.cache_secret) == ("77", 77, None)
    assert settings.read_texts(needed).keys() >= {"DATABASE_URL", "OCTOLLM_ENV_FILE", "OTHER_FILE"}
    assert "DATABASE_URL_FILE" not in settings.read_texts(needed)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"a\0b", b"x" * 65_537])
def test_a_file_without_a_usable_value_is_named_and_its_content_is_not_shown(
    needed: dict[str, str], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=rf"CACHE_SECRET_FILE names {path}, which") as raised:
        settings.load(needed | {"CACHE_SECRET_FILE": str(path)})

    assert "xx" not in raised.value.message


def test_a_setting_and_its_file_at_once_are_refused(needed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "url").write_text(needed["REDIS_URL"])

    with pytest.raises(SettingsError, match="REDIS_URL and REDIS_URL_FILE are both set: unset one"):
        settings.load(needed | {"REDIS_URL_FILE": str(tmp_path / "url")})


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("MAX_PARALLEL_ARMS", "50", 50),
        ("LEASE_SECONDS", "7.5", 7.5),
        ("RATE_LIMIT", "5/second", Rate(5, 1)),
        ("RATE_LIMIT", "100/hour", Rate(100, 3600)),
        ("PUBLIC_URL", "https://octo.example.com:8443/api/", "https://octo.example.com:8443/api"),
        (
            "CORS_ORIGINS",
            "https://App.example.com, http://[::1]:3000",
            ("https://app.example.com", "http://[::1]:3000"),
        ),
        (
            "CORS_ORIGINS",
            "https://a.com:443,http://b.com:80,http://c.com:443",
            ("https://a.com", "http://b.com", "http://c.com:443"),
        ),
    ],
)
def test_a_valid_value_is_accepted(needed: dict[str, str], name: str, text: str, expected: object) -> None:
    assert getattr(settings.load(needed | {name: text}), name.lower()) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", f"mysql://octo:{PASSWORD}@db/octollm"),
        ("REDIS_URL", f"amqp://:{PASSWORD}@mq"),
        ("JWT_SECRET", PASSWORD),
        ("CACHE_SECRET", PASSWORD),
        ("WEBHOOK_SECRET", PASSWORD),
        ("JWT_PRIVATE_KEY", PASSWORD),
        ("JWT_PUBLIC_KEYS", "k1"),
        ("JWT_PUBLIC_KEYS", f"k1={'A' * 42}"),
        ("JWT_PUBLIC_KEYS", f"k 1={'A' * 43}="),
        ("JWT_PUBLIC_KEYS", f"k1={'A' * 43}=,k1={'B' * 42}A="),
        ("JWT_TTL_SECONDS", "86401"),
        ("JWT_MAX_AGE_SECONDS", "3599"),
        ("MAX_PARALLEL_ARMS", "0"),
        ("MAX_PARALLEL_ARMS", "51"),
        ("MAX_PARALLEL_ARMS", "five"),
        ("TASK_TIMEOUT", "1e3"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "nan"),
        ("HEARTBEAT_SECONDS", "15"),
        ("RATE_LIMIT", "100"),
        ("RATE_LIMIT", "0/minute"),
        ("RATE_LIMIT", "100/fortnight"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("EXECUTOR_MIN_ISOLATION", "none"),
        ("EXECUTOR_COMMANDS", "wc"),
        ("EXECUTOR_COMMANDS", "wc=wc -l"),
        ("EXECUTOR_COMMANDS", "wc=/usr/bin/wc '"),
        ("PIP_INDEX_URL", "ftp://index.example/simple"),
        ("PIP_INDEX_URL", "https://reader:secret@/simple"),
        ("ENVIRONMENT_MAX_BYTES", "1"),
        ("LOG_FORMAT", "xml"),
        ("LLM_CHAIN", "gpt-6"),
        ("LLM_CHAIN", "openai:m"),
        ("OPENAI_BASE_URL", f"ftp://:{PASSWORD}@models"),
        ("LLM_TIMEOUT_SECONDS", "0"),
        ("LLM_FLAVOUR", "azure"),
        ("LLM_RPM", "0"),
        ("LLM_PRICES", "{}x"),
        ("LLM_EXTRA_BODY", "[]"),
        ("APPROVAL_FOUR_EYES", "yes"),
        ("PUBLIC_URL", "octo.example.com"),
        ("PUBLIC_URL", "ftp://octo.example.com"),
        ("PUBLIC_URL", "https://octo.example.com/?x=1"),
        ("PUBLIC_URL", "https://octo:pw@octo.example.com"),
    ],
)
def test_a_wrong_value_is_rejected_by_name_without_showing_secrets(
    needed: dict[str, str], name: str, text: str
) -> None:
    with pytest.raises(SettingsError, match=name) as rejected:
        settings.load(needed | {name: text})

    assert PASSWORD not in str(rejected.value)


def test_all_wrong_settings_are_reported_at_once(needed: dict[str, str]) -> None:
    wrong = {"JWT_SECRET": PASSWORD, "TASK_TIMEOUT": "0", "LEASE_SECONDS": "x", "REDIS_URL": ""}

    with pytest.raises(SettingsError) as rejected:
        settings.load(needed | wrong)

    assert all(name in rejected.value.message for name in wrong)
    assert "a number of seconds above 0" in rejected.value.message
    assert PASSWORD not in rejected.value.message


def test_settings_that_contradict_each_other_are_reported_at_once(needed: dict[str, str]) -> None:
    wrong = {
        "HEARTBEAT_SECONDS": "20",
        "JWT_TTL_SECONDS": "86400",
        "JWT_MAX_AGE_SECONDS": "60",
        "LLM_CHAIN": "openai:gpt-5",
        "EMBEDDINGS": "openai:text-embedding-3-small",
    }

    with pytest.raises(SettingsError) as rejected:
        settings.load(needed | wrong)

    assert all(name in rejected.value.message for name in wrong)


def test_http_arms_need_a_secret_where_requests_to_them_are_signed(needed: dict[str, str]) -> None:
    given = {name: text for name, text in needed.items() if name != "JWT_SECRET"}
    given |= {"ARM_ALLOWED_HOSTS": "arms.example.com"}

    with pytest.raises(SettingsError, match="set ARM_SECRET"):
        settings.load(given)
    assert settings.load(given | {"ARM_SECRET": "s" * 40}).arm_allowed_hosts == ("arms.example.com",)
    assert settings.load(given | {"OCTOLLM_KIND": "planner"}).arm_secret is None


def test_all_unusable_proxies_are_reported_at_once(needed: dict[str, str]) -> None:
    wrong = {"HTTP_PROXY": f"socks5://user:{PASSWORD}@proxy:1080", "HTTPS_PROXY": "ftp://proxy"}

    with pytest.raises(SettingsError) as rejected:
        settings.load(needed | wrong | {"OPENAI_API_KEY": "sk-1234567890"})

    assert all(name in rejected.value.message for name in wrong)
    assert PASSWORD not in rejected.value.message


def test_the_repr_shows_no_secret(needed: dict[str, str]) -> None:
    shown = repr(
        settings.load(needed | {"OPENAI_API_KEY": "sk-1234567890", "ANTHROPIC_API_KEY": "sk-ant-12345"})
    )

    assert not any(secret in shown for secret in (PASSWORD, NEEDED["JWT_SECRET"], "sk-123", "sk-ant"))


def test_the_stack_file_completes_the_environment(needed: dict[str, str], tmp_path: Path) -> None:
    lines = [f"{name}={text}" for name, text in NEEDED.items()]
    (tmp_path / STACK_FILE).write_text("\n".join(["# made by octollm up", *lines, "TASK_TIMEOUT=7"]))

    loaded = settings.load({"OCTOLLM_HOME": str(tmp_path), "REDIS_URL": "redis://elsewhere/1"})

    assert loaded.redis_url == "redis://elsewhere/1"
    assert (loaded.jwt_secret, loaded.task_timeout) == (NEEDED["JWT_SECRET"], 7)


def test_settings_are_immutable(needed: dict[str, str]) -> None:
    loaded = settings.load(needed)

    with pytest.raises(FrozenInstanceError):
        loaded.task_timeout = 1  # type: ignore[misc]  # the assignment must fail


def _names() -> set[str]:
    return {item.name.upper() for item in fields(Settings)}


def _example() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^([A-Z_0-9]+)=(.*)$", text, re.MULTILINE))


def test_a_stacks_keys_are_not_used_with_another_database(needed: dict[str, str], tmp_path: Path) -> None:
    public = signing_key.public_key_of(signing_key.new_private_key())
    (tmp_path / STACK_FILE).write_text(
        f"DATABASE_URL=postgresql://postgres@127.0.0.1:1/octollm\nPERMIT_PUBLIC_KEY={public}\n"
    )
    of_the_stack = {name: text for name, text in needed.items() if name != "DATABASE_URL"}

    assert settings.load(needed).permit_public_key is None
    assert settings.load(of_the_stack).permit_public_key == public


def test_signing_settings_load_without_servers(tmp_path: Path) -> None:
    secret = NEEDED["JWT_SECRET"]

    known = settings.load_signing({"OCTOLLM_HOME": str(tmp_path), "JWT_SECRET": secret, "JWT_ISSUER": "us"})

    assert known == (None, (), secret, "us", "octollm", 3600, 86_400)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"])
@pytest.mark.parametrize("key", ["sk-schl\u00fcssel", "sk-a b", "sk-a\nb", "sk-a\x00"])
def test_an_api_key_that_no_header_can_carry_is_rejected_at_start(
    needed: dict[str, str], name: str, key: str
) -> None:
    with pytest.raises(
        SettingsError, match=f"{name} is wrong: its value is not one line of ASCII"
    ) as rejected:
        settings.load(needed | {name: key})

    assert key not in rejected.value.message


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"])
@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://host:port/v1", "http://host:port/path"),
        ("http://:8080/v1", "http://host:port/path"),
        ("http://host/v1 ", None),
        ("http://h\u00f6st/v1", "http://host:port/path"),
        ("http://host/v1/chat/completions", "the base URL without"),
        ("http://host/v1/messages/", "the base URL without"),
    ],
)
def test_an_unusable_base_url_is_rejected_at_start(
    needed: dict[str, str], name: str, url: str, wanted: str | None
) -> None:
    if wanted is None:
        assert settings.load(needed | {name: url})
        return
    with pytest.raises(SettingsError, match=f"{name} is wrong: its value is not {wanted}"):
        settings.load(needed | {name: url})


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("proxy", "wanted"),
    [
        (f"socks5://me:{PASSWORD}@proxy:1080", "SOCKS proxies are not supported"),
        ("socks5h://proxy:1080", "SOCKS proxies are not supported"),
        (f"ftp://me:{PASSWORD}@proxy:21", "http://host:port"),
        ("http://proxy:port", "http://host:port"),
        ("http://", "http://host:port"),
        ("proxy host:3128", "http://host:port"),
    ],
)
def test_an_unusable_proxy_is_rejected_at_start(
    needed: dict[str, str], name: str, proxy: str, wanted: str
) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong: .*{wanted}") as rejected:
        settings.load(needed | {name: proxy, "OPENAI_API_KEY": "k"})

    assert PASSWORD not in rejected.value.message
    assert settings.load(needed | {name: proxy}).models == ()


@pytest.mark.parametrize(
    "proxy", ["http://me:pass@proxy:3128", "https://proxy", "proxy:3128", "127.0.0.1:3128", ""]
)
def test_a_proxy_is_a_url_or_host_and_port(needed: dict[str, str], proxy: str) -> None:
    assert settings.load(needed | {"HTTPS_PROXY": proxy, "OPENAI_API_KEY": "k"}).models
