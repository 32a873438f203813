"""What the Dockerfile's commands make, and how it runs: as user 10001, process 1 being tini, on a read-only root."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.devserver.child_process import free_port
from orchestrator.devserver.service import read_procfile
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.deploy import dockerfile
from tests.deploy.dockerfile import Container
from tests.machine import lacks
from tests.waiting import wait_until

# the build installs and compiles 100 packages: 25 s of CPU
pytestmark = pytest.mark.timeout(600)

TEXT = (dockerfile.ROOT / "Dockerfile").read_text()
LAST_STAGE = dockerfile.read_stages(TEXT)[1]
ENTRYPOINT: list[str] = next(json.loads(text) for name, text in LAST_STAGE if name == "ENTRYPOINT")
LONGEST_SECONDS = 60

Containers = tuple[dict[str, subprocess.Popen[bytes]], Client, int]


class Image:
    """The image as a directory, from which processes start as `docker run` would start them."""

    def __init__(self, opt: Path, folder: Path) -> None:
        self._opt, self.folder = opt, folder
        self.environ = dockerfile.variables(LAST_STAGE)
        # our base image has python in /usr/local/bin
        self.environ["PATH"] = self.environ["PATH"].replace("/usr/local/bin", "/image/bin")

    def command(self, name: str, argv: list[str], **environ: str) -> list[str]:
        home, tmp = self.folder / name / "home", self.folder / name / "tmp"
        for place in (home, tmp):
            place.mkdir(parents=True, exist_ok=True)
        container = Container(
            self.folder,
            name,
            {"/var/lib/octollm": home, "/tmp": tmp},
            {"/opt/octollm": self._opt},
        )
        return container.command(argv, self.environ | environ, cwd="/var/lib/octollm")

    def run(self, name: str, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, list(argv), **environ), capture_output=True, text=True, timeout=LONGEST_SECONDS
        )

    def is_alive(self, name: str, port: int) -> bool:
        """Return what the image's HEALTHCHECK finds."""
        environ = {"ALIVE_FILE": str(self.folder / name / "tmp" / "octollm-alive"), "PORT": str(port)}
        probe = dockerfile.ROOT / "deploy" / "image" / "alive"
        return subprocess.run([probe], env=os.environ | environ, timeout=LONGEST_SECONDS).returncode == 0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    shutil.which("bwrap") or lacks("bwrap", package="bubblewrap")
    folder = tmp_path_factory.mktemp("image")
    return Image(dockerfile.build(TEXT, folder), folder)


def test_the_image_has_the_documentation_s_site(image: Image) -> None:
    asked = (
        "from api.routes.guide import SITE;"
        "print((SITE / 'how-to' / 'upgrade.html').exists(), *SITE.rglob('*.min.js'))"
    )

    printed = image.run("b", "python", "-c", asked).stdout.split()

    assert printed[0] == "True"
    assert len(printed) == 3


def test_the_image_has_what_the_lock_names_and_no_pip(image: Image) -> None:
    listed = image.run("a", "python", "-m", "pip", "--version")
    version = image.run("a", "octollm", "--version")
    writing = image.run("a", "sh", "-c", "id -u; echo x > /opt/octollm/x; echo y > /y; echo z > z && ls")

    assert listed.returncode != 0
    assert version.stdout.startswith("octollm, version ")
    assert writing.stdout.split() == ["10001", "z"]
    assert writing.stderr.count("Read-only file system") == 2


def start(image: Image, kind: str, **environ: str) -> subprocess.Popen[bytes]:
    """Start a line of the Procfile as a container; its output goes to a file named after it."""
    argv = [*ENTRYPOINT, "/bin/sh", "-c", read_procfile()[kind]]
    with (image.folder / f"{kind}.log").open("wb") as log:
        return subprocess.Popen(image.command(kind, argv, **environ), stdout=log, stderr=subprocess.STDOUT)


def stop(container: subprocess.Popen[bytes]) -> int:
    """Send SIGTERM to process 1 of a container, as `docker stop` does; return its exit status."""
    (process_1,) = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
    os.kill(int(process_1), signal.SIGTERM)
    return container.wait(LONGEST_SECONDS)


@pytest.fixture
def containers(image: Image, postgres_url: str, redis_url: str) -> Iterator[Containers]:
    """All kinds of process that a task of one step needs, each with its secrets in files."""
    signing = settings.load()
    port = free_port()
    files = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_url, "JWT_SECRET": str(signing.jwt_secret)}
    with ExitStack() as ending:
        running = {}
        for kind in ("web", "planner", "executor", "judge", "sweeper"):
            home = image.folder / kind / "home"
            home.mkdir(parents=True, exist_ok=True)
            for name, value in files.items():
                (home / name).write_text(value)
            named = {f"{name}_FILE": f"/var/lib/octollm/{name}" for name in files}
            running[kind] = start(image, kind, PORT=str(port), RATE_LIMIT="1000/second", **named)
            ending.callback(running[kind].kill)
        token = credential.sign_token(signing, tenant="acme", key_id="tests", scopes=credential.SCOPES)
        yield running, Client(f"http://127.0.0.1:{port}", token), port


def began(event: dict[str, Any], arm: str) -> bool:
    """Return whether an event says that a step of an arm began."""
    return bool(event["type"] == "step.started" and event["data"]["arm"] == arm)


def test_containers_run_a_task_and_a_stop_lets_a_worker_finish_its_step(
    image: Image, containers: Containers
) -> None:
    running, client, port = containers
    for kind in running:
        wait_until(
            partial(image.is_alive, kind, port), LONGEST_SECONDS, f"{kind} to live: {image.folder}", every=0.2
        )
    task_id = client.submit(plan={"steps": [wait("a", 2)]})
    wait_until(
        lambda: [True for event in client.events(task_id) if began(event, "executor")],
        LONGEST_SECONDS,
        "the step to run",
        every=0.1,
    )

    status = stop(running["executor"])

    task = client.end_of(task_id)
    assert (status, task["status"]) == (0, "completed")
    assert [stop(one) for kind, one in running.items() if kind != "executor"] == [0, 0, 0, 0]
    logs = {log.stem: log.read_text() for log in image.folder.glob("*.log")}
    assert "Traceback" not in "".join(logs.values())
    # one of the two sandboxes works there
    assert '"event": "sandbox.stands"' in logs["executor"]
    assert "superuser" not in logs["executor"]


def test_the_probe_fails_for_a_worker_that_has_hung_and_for_one_that_never_began(image: Image) -> None:
    nobody_listens = free_port()
    alive = image.folder / "hung" / "tmp" / "octollm-alive"
    alive.parent.mkdir(parents=True)

    never_began = image.is_alive("hung", nobody_listens)
    alive.touch()
    works = image.is_alive("hung", nobody_listens)
    os.utime(alive, (0, time.time() - 120))
    has_hung = image.is_alive("hung", nobody_listens)

    assert (never_began, works, has_hung) == (False, True, False)
