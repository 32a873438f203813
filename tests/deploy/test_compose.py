"""deploy/compose.yaml: its schema, the Procfile's lines, and that each kind of process gets its own secrets only."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from sqlalchemy import text

from orchestrator import settings
from orchestrator.chord.database import open_engine
from orchestrator.devserver import binaries
from orchestrator.devserver.child_process import free_port
from orchestrator.devserver.service import read_procfile
from orchestrator.memory import migrate
from orchestrator.models.arm_capability import ARMS
from orchestrator.process.process_kind import KINDS, ROLES, SECRETS, WITH_MODELS, may_receive
from tests.deploy.conftest import ROOT, RunTool
from tests.waiting import wait_until

COMPOSE = ROOT / "deploy" / "compose.yaml"
WHOLE: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = WHOLE["services"]
# what the servers of other people need besides our own processes
SERVERS = {"postgres", "valkey"}
OURS = {name: service for name, service in SERVICES.items() if name not in SERVERS}
REACH_OTHERS = {"web", "remote", "webhook", "flower"} | WITH_MODELS


def test_the_file_fits_the_schema_of_compose(run_tool: RunTool) -> None:
    found = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)

    assert found.returncode == 0, found.stdout


def test_the_schema_finds_a_planted_fault(run_tool: RunTool, tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("    ports:", "    prots:"))

    found = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong)

    assert found.returncode == 1
    assert "prots" in found.stdout


def test_each_service_runs_its_line_of_the_procfile() -> None:
    lines = read_procfile()
    lines["migrate"] = lines.pop("release")

    # Compose replaces $$ by $
    commands = {
        name: [word.replace("$$", "$") for word in service["command"]] for name, service in OURS.items()
    }

    assert commands == {name: ["/bin/sh", "-c", line] for name, line in lines.items()}
    assert {arm.process for arm in ARMS.values() if arm.has_workers} <= commands.keys()


def test_only_the_api_is_published_on_loopback_by_default() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"web": ["${OCTOLLM_BIND:-127.0.0.1}:${OCTOLLM_PORT:-8000}:8000"]}
    assert {name for name, service in SERVICES.items() if "outer" in service["networks"]} == REACH_OTHERS
    assert WHOLE["networks"]["inner"] == {"internal": True}


def test_each_service_is_confined_limited_and_stopped_in_time() -> None:
    for name, service in OURS.items():
        limits = service["deploy"]["resources"]["limits"]

        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert limits.keys() >= {"cpus", "memory", "pids"}, name
        assert service["stop_grace_period"] == "40s", name
        assert "privileged" not in service, name
    assert settings.Settings.grace_seconds < 40


def test_tools_may_run_what_they_write_and_nothing_else_may() -> None:
    """Docker mounts a tmpfs without the right to run what is on it, unless it is told otherwise."""
    may = {
        name
        for name, service in OURS.items()
        if all("exec" in place.split(":")[1].split(",") for place in service["tmpfs"])
    }

    assert may == {"coder", "executor"}


def test_everything_waits_for_the_migration_which_runs_once() -> None:
    for name in OURS.keys() - {"migrate"}:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_each_kind_gets_its_own_secrets_by_files_and_no_others() -> None:
    for kind in KINDS:
        service, environ = SERVICES[kind], SERVICES[kind]["environment"]
        files = {name.removesuffix("_FILE"): path for name, path in environ.items() if name.endswith("_FILE")}

        assert environ["OCTOLLM_KIND"] == kind
        assert set(files.values()) == {f"/run/secrets/{name}" for name in service["secrets"]}, kind
        # of the two ways to sign tokens one is enough, and the last two are the operator's own
        others = {"JWT_SECRET", "PIP_INDEX_URL", "FLOWER_BASIC_AUTH"}
        wanted = {name for name in SECRETS.keys() - others if may_receive(kind, name, arms=["judge"])}
        assert files.keys() & SECRETS.keys() == wanted, kind
        assert files["REDIS_URL"] == f"/run/secrets/redis-url-{kind}"
        assert ("./secrets/models.env" in service["env_file"]) == (kind in WITH_MODELS)


def test_the_secrets_are_all_there_and_not_replaced(made: Path) -> None:
    wanted = {Path(secret["file"]).name for secret in WHOLE["secrets"].values()} | {"models.env"}
    again = subprocess.run(
        [sys.executable, ROOT / "deploy" / "make_secrets.py", made], capture_output=True, text=True, cwd=ROOT
    )

    assert wanted <= {path.name for path in made.iterdir()}
    assert "CHANGE_ME" not in "".join(path.read_text() for path in made.iterdir())
    assert oct(made.stat().st_mode & 0o777) == "0o700"
    assert again.returncode == 1
    assert "are not replaced" in again.stderr


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flower"])
def test_the_settings_of_each_kind_load_from_its_files(made: Path, kind: str, tmp_path: Path) -> None:
    environ = {
        name: str(text).replace("/run/secrets", str(made))
        for name, text in SERVICES[kind]["environment"].items()
    }

    loaded = settings.load({**environ, "OCTOLLM_HOME": str(tmp_path)})

    assert loaded.octollm_kind == kind
    assert f"octollm_{kind}_login" in loaded.database_url


def test_the_logins_of_postgres_have_the_rights_of_their_kind(made: Path, postgres_url: str) -> None:
    owner, host = open_engine(postgres_url, pool_size=1), postgres_url.rpartition("@")[2]
    logins = [f"octollm_{kind}_login" for kind in (*ROLES, "scaler")]
    try:
        with owner.begin() as conn:
            conn.exec_driver_sql((made / "postgres-logins.sql").read_text())
        migrate.upgrade(postgres_url)
        for kind, may_write_tasks in (("web", True), ("sweeper", False)):
            login = (made / f"database-url-{kind}").read_text().partition("@")[0].removeprefix("postgresql")
            engine = open_engine(f"postgresql+psycopg2{login}@{host}", pool_size=1)
            with engine.connect() as conn:
                assert (
                    conn.execute(text("SELECT has_table_privilege('tasks', 'INSERT')")).scalar()
                    == may_write_tasks
                )
            engine.dispose()
    finally:
        with owner.begin() as conn:
            conn.exec_driver_sql(f"DROP ROLE IF EXISTS {', '.join(logins)}")
        owner.dispose()


@pytest.fixture
def valkey(made: Path, tmp_path: Path) -> Iterator[int]:
    """The port of a Valkey that runs as the service does."""
    command = [
        str(made / "users.acl") if word == "/run/secrets/users.acl" else word
        for word in SERVICES["valkey"]["command"]
    ]
    port = free_port()
    ours = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    server = subprocess.Popen([binaries.valkey()[0], *command[1:], *ours], stdout=subprocess.DEVNULL)
    yield port
    server.kill()
    server.wait()


def test_the_valkey_of_compose_knows_each_kind_and_nobody_else(made: Path, valkey: int) -> None:
    with redis.Redis(port=valkey) as stranger:
        refusal = wait_until(lambda: answer_to(stranger), 30, "Valkey to listen")
    assert "authenticated" in refusal

    for kind in KINDS:
        url = (made / f"redis-url-{kind}").read_text().replace("@valkey:6379", f"@127.0.0.1:{valkey}")
        with redis.Redis.from_url(url) as client:
            assert client.ping(), kind


def answer_to(client: "redis.Redis") -> str:
    """Return what a server answers to PING; empty while nothing listens."""
    try:
        return str(client.ping())
    except redis.AuthenticationError as error:
        return str(error) or type(error).__name__
    except redis.ConnectionError:
        return ""
