"""The documentation: each link leads to a file and a heading that exist, and each path that it names exists."""

import ast
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
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
NAMED = re.compile(
    r"(?<![\w/.-])((?:api|orchestrator|workers|migrations|tests|bench|deploy|examples)/[\w/.-]+\.\w+)"
)


# prose; tables, code and links may be longer
MAX_COLUMNS = 110


def long_lines(page: Path) -> Iterator[str]:
    fenced = False
    for line in page.read_text("utf-8").splitlines():
        fenced ^= line.startswith("```")
        is_prose = not fenced and not line.startswith(("|", "#", "    ")) and " " in line.strip("-* ")
        if is_prose and len(line) > MAX_COLUMNS:
            yield line


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
    assert list(long_lines(page)) == []
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


def logged(levels: set[str]) -> Iterator[str]:
    """Yield the constant names of the events that our code logs at one of `levels`."""
    for package in ("api", "orchestrator", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                # a helper that logs takes the event's name as `event`
                names = [keyword.value for keyword in node.keywords if keyword.arg == "event"]
                if isinstance(node.func, ast.Attribute) and node.func.attr in levels:
                    names += node.args[:1]
                for name in names:
                    if isinstance(name, ast.Constant) and EVENT.fullmatch(str(name.value)):
                        yield str(name.value)


def test_the_page_of_log_events_lists_what_is_logged() -> None:
    page = (ROOT / "docs" / "reference" / "log-events.md").read_text("utf-8")
    cells = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    listed = set(re.findall(r"`([^`]+)`", cells))
    problems = set(logged({"warning", "error", "exception", "critical"}))
    others = {"watchdog.killed"}  # the watchdog writes its line itself
    named_by_state = {event for event in listed if event.startswith(("step.", "webhook."))}

    assert sorted(problems - listed) == []
    assert sorted(listed - problems - others - named_by_state - set(logged({"info", "debug"}))) == []
