"""Pictures of the console for the README and docs; OCTOLLM_SCREENSHOTS names the folder to which they are written."""

import os
import re
import struct
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from orchestrator.safety import archive
from tests.acceptance.client import Client

SIZE: ViewportSize = {"width": 1280, "height": 1000}
ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "img"
NAMES = ("console-task.png", "console-timeline.png", "console-verdict.png")


@pytest.fixture(scope="module")
def audit(client: Client) -> str:
    """An audit of the flawed example package, which the judge rejects."""
    package = client.upload(archive.pack(ROOT / "examples" / "flawed_package"), filename="flawed.tar.gz")
    task = client.submit("Audit this Python package", attachments=[package])
    assert client.end_of(task, timeout=120)["status"] == "failed"
    return task


@pytest.fixture
def large(page: Page) -> Page:
    page.set_viewport_size(SIZE)
    return page


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(os.environ.get("OCTOLLM_SCREENSHOTS") or tmp_path)


def size_of(picture: Path) -> tuple[int, int]:
    """Return the width and height of a PNG, in pixels."""
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_a_task_as_a_graph(large: Page, audit: str, folder: Path) -> None:
    large.goto(f"/tasks/{audit}")
    expect(large.get_by_role("heading", name="Audit this Python package")).to_be_visible()
    expect(large.get_by_role("button", name="Fit")).to_be_visible()
    expect(large.get_by_role("button", name=re.compile("^inventory")).first).to_be_visible()
    large.screenshot(path=folder / NAMES[0])

    assert size_of(folder / NAMES[0]) == (SIZE["width"], SIZE["height"])


def test_a_task_as_a_timeline(large: Page, audit: str, folder: Path) -> None:
    large.goto(f"/tasks/{audit}?view=timeline")
    expect(large.get_by_role("heading", name="Audit this Python package")).to_be_visible()
    expect(large.get_by_text("The end was determined by:")).to_be_visible()
    large.screenshot(path=folder / NAMES[1])

    assert size_of(folder / NAMES[1]) == (SIZE["width"], SIZE["height"])


def test_a_verdict_with_its_evidence(large: Page, audit: str, folder: Path) -> None:
    large.goto(f"/tasks/{audit}")
    large.get_by_role("region", name="Why").scroll_into_view_if_needed()
    expect(large.get_by_role("region", name="Why")).to_contain_text("No file holds a secret")
    large.screenshot(path=folder / NAMES[2])

    assert size_of(folder / NAMES[2]) == (SIZE["width"], SIZE["height"])


@pytest.mark.parametrize("name", NAMES)
def test_the_pictures_of_the_docs_have_this_size(name: str) -> None:
    assert size_of(KEPT / name) == (SIZE["width"], SIZE["height"])
    assert (KEPT / name).stat().st_size < 300_000
