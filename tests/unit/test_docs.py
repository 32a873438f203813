"""The documentation: each link leads to a file and a heading that exist, and each path that it names exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# a path of ours in prose, such as `workers/attempt/base_task.py`
NAMED = re.compile(
    r"(?<![\w/.-])((?:api|orchestrator|workers|migrations|tests|bench|deploy|examples)/[\w/.-]+\.\w+)"
)


def slug(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors_of(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in page.read_text("utf-8").splitlines() if line.startswith("#")}


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    named = set(NAMED.findall(page.read_text("utf-8")))

    assert list(broken_links(page)) == []
    assert sorted(path for path in named if "X.Y" not in path and not (ROOT / path).exists()) == []


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    listed = {
        (index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text("utf-8"))
    }
    pages = {
        page for page in (ROOT / "docs").rglob("*.md") if "decisions" not in page.parts and page != index
    }

    assert pages <= listed
