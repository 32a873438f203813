"""The units of deploy/systemd, read by `systemd-analyze verify`; no systemd runs here."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.devserver.service import read_procfile
from orchestrator.models.arm_capability import ARMS
from orchestrator.process.process_kind import SECRETS, WITH_MODELS, may_receive
from orchestrator.settings import Settings
from tests.deploy.conftest import ROOT
from tests.machine import lacks
from workers.__main__ import options_of_arms

UNITS = ROOT / "deploy" / "systemd"
TEMPLATE = "octollm-worker@.service"
PROCESSES = {arm.process for arm in ARMS.values() if arm.has_workers}
INSTANCES = PROCESSES | {"remote", "webhook"}
SINGLE = ("octollm-migrate.service", "octollm-web.service", "octollm-sweeper.service", "octollm.target")


def verify(folder: Path, *, right: str = "", wrong: str = "") -> str:
    """Return what systemd says against the units, in which `wrong` stands in the place of `right`."""
    shutil.which("systemd-analyze") or lacks("systemd-analyze", package="systemd")
    copies, programs = shutil.copytree(UNITS, folder / "units"), folder / "bin"
    programs.mkdir()
    for name in ("python", "octollm"):
        (programs / name).symlink_to("/bin/true")
    for path in [path for path in copies.rglob("*") if path.is_file()]:
        text = path.read_text().replace("ExecStart=/opt/octollm/bin/", f"ExecStart={programs}/")
        path.write_text(text.replace(right, wrong) if right else text)
    for kind in INSTANCES:
        (copies / TEMPLATE.replace("@", f"@{kind}")).symlink_to(TEMPLATE)
    # the colon at the end: after ours, the system's own units
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{copies}:"}
    names = [*SINGLE, *(TEMPLATE.replace("@", f"@{kind}") for kind in sorted(INSTANCES))]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], env=environ, capture_output=True, text=True
    )
    return "\n".join(line for line in done.stderr.splitlines() if str(folder) in line or "octollm" in line)


def setting(text: str, name: str) -> list[str]:
    """Return the values of a setting in a unit, without empty ones."""
    return re.findall(rf"^{name}=(.+)$", text, re.MULTILINE)


def unit_of(kind: str) -> str:
    """Return the text of a kind's unit with its drop-in, in which an empty value resets what comes before."""
    if (UNITS / f"octollm-{kind}.service").exists():
        return (UNITS / f"octollm-{kind}.service").read_text()
    drop_in = UNITS / f"octollm-worker@{kind}.service.d" / "kind.conf"
    text = (UNITS / TEMPLATE).read_text()
    more = drop_in.read_text() if drop_in.exists() else ""
    for name in re.findall(r"^(\w+)=$", more, re.MULTILINE):
        text = re.sub(rf"^{name}=.*\n", "", text, flags=re.MULTILINE)
    return (text + more).replace("%i", kind)


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    assert verify(tmp_path) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("KillMode=mixed", "KillMode=mixt"),
        ("TimeoutStopSec=", "TimeoutStopSecs="),
        ("ExecStart=/bin/sh", "ExecStart=/bin/shell"),
        ("%S/%N", "%S/%Q"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    assert verify(tmp_path, right=right, wrong=wrong)


def test_the_api_runs_its_line_of_the_procfile() -> None:
    (command,) = setting(unit_of("web"), "ExecStart")

    # systemd takes %% for %, $$ for $ and \' for '
    shell, option, line = re.fullmatch(r"(\S+) (-c) '(.*)'", command).groups()
    assert (shell, option) == ("/bin/sh", "-c")
    assert line.replace("%%", "%").replace("$$", "$").replace(r"\'", "'") == read_procfile()["web"]
    assert setting(unit_of("sweeper"), "ExecStart") == [
        read_procfile()["sweeper"].replace("exec ", "/opt/octollm/bin/")
    ]


@pytest.mark.parametrize("kind", sorted(INSTANCES))
def test_a_worker_serves_the_queue_and_pool_of_its_line(kind: str) -> None:
    (command,) = setting(unit_of(kind), "ExecStart")
    words = shlex.split(command.partition(" -m workers ")[2])

    options = options_of_arms(words)
    line = shlex.split(read_procfile()[kind].partition("python -m workers ")[2])
    for option in ("-Q", "-P"):
        assert options[options.index(option) + 1] == line[line.index(option) + 1]
    slots = line[line.index("-c") + 1]
    assert options[options.index("-c") + 1] == slots or slots == "${PLANNER_THREADS:-2}"
    assert line[-3:] == options[-3:] == ["--without-mingle", "--without-gossip", "$WORKER_FLAGS"]
    assert options[options.index("-n") + 1] == f"{kind}@%%h"


@pytest.mark.parametrize("kind", ["web", "sweeper", *sorted(INSTANCES)])
def test_a_unit_gets_its_own_secrets_and_time_to_stop(kind: str) -> None:
    text = unit_of(kind)
    unset = " ".join(setting(text, "UnsetEnvironment")).split()
    loaded = dict(value.split(":") for value in setting(text, "LoadCredential"))
    words = [word for value in setting(text, "Environment") for word in value.split()]
    files = {
        variable.removesuffix("_FILE"): path.removeprefix("%d/")
        for variable, path in (word.split("=", 1) for word in words)
        if path.startswith("%d/") and variable not in unset
    }

    others = {"JWT_SECRET", "PIP_INDEX_URL", "FLOWER_BASIC_AUTH"}
    assert files.keys() & SECRETS.keys() == {
        name for name in SECRETS.keys() - others if may_receive(kind, name, arms=["judge"])
    }
    assert set(files.values()) == loaded.keys()
    assert loaded["database-url"] == f"/etc/octollm/secrets/database-url-{kind}"
    assert f"OCTOLLM_KIND={kind}" in words
    assert ("-/etc/octollm/models.env" in setting(text, "EnvironmentFile")) == (kind in WITH_MODELS)
    assert setting(text, "KillMode") == ["mixed"]
    assert int(setting(text, "TimeoutStopSec")[0]) >= Settings.grace_seconds + 5
    assert setting(text, "NoNewPrivileges") == ["yes"]


def test_the_target_starts_every_arm_with_a_manifest() -> None:
    wanted = " ".join(setting((UNITS / "octollm.target").read_text(), "Wants")).split()

    assert set(wanted) == {
        "octollm-web.service",
        "octollm-sweeper.service",
        *(TEMPLATE.replace("@", f"@{kind}") for kind in PROCESSES),
    }
