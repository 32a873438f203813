"""The documentation's site, as `make docs` built it: every page whole, and links, search and themes in a browser."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Page, expect

from api.routes.guide import SITE
from tests.browser.conftest import NARROW

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# the dialog of the search is in a closed shadow root, which no locator sees
OPEN_SHADOWS = """
  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (init) { return attach.call(this, { ...init, mode: "open" }); };
"""
MARKDOWN = MarkdownIt("commonmark").enable("table")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DOCS)) for page in PAGES])
def test_a_page_has_the_lists_tables_and_code_that_other_readers_of_markdown_show(page: Path) -> None:
    """Python-Markdown, which Zensical uses, wants blank lines and indents that GitHub does not."""
    name = "index.html" if page.name == "README.md" else f"{page.stem}.html"
    [article] = re.findall(
        r"<article.*?</article>",
        (SITE / page.relative_to(DOCS).with_name(name)).read_text("utf-8"),
        re.DOTALL,
    )
    expected = MARKDOWN.render(page.read_text("utf-8"))

    assert counts(article) == counts(expected)


def counts(html: str) -> dict[str, int]:
    return {
        tag: len(re.findall(rf"<{tag}[ >]", html)) for tag in ("ol", "ul", "li", "table", "pre", "h2", "h3")
    }


def test_links_and_the_search_lead_to_pages(page: Page) -> None:
    page.add_init_script(OPEN_SHADOWS)
    page.goto("/docs/guide")

    page.get_by_role("navigation", name="Navigation").get_by_role("link", name="Operations").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("^Operations"))
    assert page.url.endswith("/docs/guide/operations.html")
    page.goto("/docs/guide/index.html")
    page.get_by_role("button", name="Search").first.click()
    page.keyboard.type("pgbouncer")
    page.locator("a[href*='h=pgbouncer'][href*='operations.html']").first.click()
    expect(page).to_have_url(re.compile(r"/docs/guide/operations\.html"))


def test_a_page_fits_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size(NARROW)
    page.goto("/docs/guide/reference/arms.html")
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    wide = page.evaluate("document.documentElement.scrollWidth")

    assert wide <= NARROW["width"]
