"""The octollm command starts fast, prints an error as one line, and exits with a documented status."""

import json
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from orchestrator.auth import permit
from orchestrator.auth.credential import verify_token
from orchestrator.cli.client import DEFAULT_URL, ServerOptions, open_client
from orchestrator.cli.exit_status import ExitStatus
from orchestrator.cli.main import main
from orchestrator.settings import load

# nothing of ours listens on port 9 (discard)
_NOBODY = ["--url", "http://127.0.0.1:9"]


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.fixture
def stack_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with the stack file of `octollm up`."""
    lines = {
        "DATABASE_URL": "postgresql://postgres@127.0.0.1:1/octollm",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JWT_SECRET": "a secret of the stack, longer than 32 bytes",
        "OCTOLLM_URL": "http://127.0.0.1:4321",
    }
    (tmp_path / "stack.env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    monkeypatch.setenv("OCTOLLM_HOME", str(tmp_path))
    for name in (*lines, "OCTOLLM_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["keys", "create", "--help"]])
def test_help_is_on_stdout_and_wrong_usage_on_stderr(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments) == ExitStatus.OK
    assert "Usage: octollm" in capsys.readouterr().out

    assert _run(*arguments[:-1], "--no-such-option") == ExitStatus.USAGE
    assert "no-such-option" in capsys.readouterr().err.lower()


def test_help_imports_neither_server_libraries_nor_rich() -> None:
    script = (
        "import sys; from orchestrator.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'celery', 'sqlalchemy', 'rich', 'flask', 'redis', 'jwt'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unreachable_server_is_one_line_and_status_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(*_NOBODY, "--token", "t", "status", "task_0000000000000000") == ExitStatus.UNREACHABLE

    told = capsys.readouterr().err
    assert "http://127.0.0.1:9 does not answer" in told
    assert "octollm up" in told
    assert "Traceback" not in told


def test_a_url_without_a_scheme_is_refused_before_anything_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _run("--url", "localhost:8000", "arms") == ExitStatus.FAILED

    assert "must begin with http:// or https://" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "  "],
        ["run", "a goal", "--attach", "/no/such/file"],
        ["run", "a goal", "--criteria", "{not json"],
        ["run", "a goal", "--priority", "urgent"],
        ["submit", "a goal", "--max-time", "0"],
        ["up", "--flower"],
        ["keys", "create"],
        ["no-such-command"],
    ],
)
def test_wrong_usage_is_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)

    assert _run(*_NOBODY, "--token", "t", *arguments) == ExitStatus.USAGE

    assert capsys.readouterr().err


def test_the_running_stack_is_found_with_its_signing_key(stack_home: Path) -> None:
    server = open_client(ServerOptions(None, None))

    assert server.url == "http://127.0.0.1:4321"
    principal = verify_token(load(), server.token or "")
    assert principal.tenant == "local"
    assert principal.may("task:submit")


def test_options_override_the_running_stack(stack_home: Path) -> None:
    server = open_client(ServerOptions("https://octollm.example/v1/", "a token"))

    assert (server.url, server.token) == ("https://octollm.example", "a token")


def test_without_a_stack_the_default_url_is_used_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTOLLM_HOME", str(tmp_path))
    for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)

    server = open_client(ServerOptions(None, None))

    assert (server.url, server.token) == (DEFAULT_URL, None)


def test_an_error_says_that_the_state_directory_has_no_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTOLLM_HOME", str(tmp_path))
    monkeypatch.setattr("orchestrator.cli.client.DEFAULT_URL", "http://127.0.0.1:9")

    assert _run("--token", "t", "arms") == ExitStatus.UNREACHABLE

    assert f"no stack was found in OCTOLLM_HOME, {tmp_path}" in capsys.readouterr().err


def test_an_error_says_where_a_stack_was_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OCTOLLM_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("orchestrator.cli.client.DEFAULT_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)

    assert _run("--token", "t", "arms") == ExitStatus.UNREACHABLE

    told = capsys.readouterr().err
    assert f"no stack was found in .octollm of {tmp_path} or above" in told
    assert str(tmp_path / "state") in told


def test_token_needs_only_the_signing_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OCTOLLM_HOME", str(tmp_path))
    monkeypatch.setenv("JWT_SECRET", "a secret of nobody else, longer than 32 bytes")

    assert _run("token", "--tenant", "acme") == ExitStatus.OK
    assert capsys.readouterr().out.count(".") == 2

    monkeypatch.delenv("JWT_SECRET")
    assert _run("token", "--tenant", "acme") == ExitStatus.FAILED
    assert "JWT_PRIVATE_KEY must be set" in capsys.readouterr().err


def test_token_prints_a_jwt_and_nothing_else(stack_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        _run("token", "--tenant", "acme", "--scopes", "task:read,task:submit", "--ttl", "60") == ExitStatus.OK
    )

    printed = capsys.readouterr()
    principal = verify_token(load(), printed.out.strip())
    assert principal.tenant == "acme"
    assert principal.scopes == {"task:read", "task:submit"}
    # the database of this stack does not run
    assert printed.err == "warning: not written to the audit log: OperationalError\n"


def test_a_key_pair_for_tokens_signs_and_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCTOLLM_HOME", str(tmp_path))
    monkeypatch.delenv("JWT_SECRET")
    assert _run("keys", "tokens", "--name", "winter") == ExitStatus.OK
    for line in capsys.readouterr().out.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere/db")
    monkeypatch.setenv("REDIS_URL", "redis://nowhere/0")

    assert _run("token", "--tenant", "acme") == ExitStatus.OK

    token = capsys.readouterr().out.strip()
    assert jwt.get_unverified_header(token)["kid"] == "winter"
    assert verify_token(load(), token).tenant == "acme"
    assert _run("keys", "tokens", "--name", "two words") == ExitStatus.FAILED


def test_a_key_pair_for_permits_can_be_evaluated_by_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("keys", "permits") == ExitStatus.OK

    script = capsys.readouterr().out + 'echo "$PERMIT_PRIVATE_KEY $PERMIT_PUBLIC_KEY"'
    private, public = subprocess.check_output(["sh", "-c", script], text=True).split()
    assert permit.fault_of_keys(private, public, signs=True) == ""


def test_an_unknown_scope_names_the_known_ones(stack_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("token", "--tenant", "acme", "--scopes", "everything") == ExitStatus.FAILED

    assert "task:submit" in capsys.readouterr().err


def test_an_unreachable_database_is_one_line(stack_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("keys", "list") == ExitStatus.UNREACHABLE
    assert _run("migrate") == ExitStatus.UNREACHABLE

    told = capsys.readouterr().err
    assert "the database reports" in told
    assert "Traceback" not in told


def test_json_errors_stay_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    _run(*_NOBODY, "--token", "t", "arms", "--json")

    with pytest.raises(json.JSONDecodeError):
        json.loads(capsys.readouterr().out)
