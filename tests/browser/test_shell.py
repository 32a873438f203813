"""What all pages of the console share: navigation, themes, narrow screens, the keyboard, failures."""

import re

from playwright.sync_api import Browser, BrowserContext, Page, expect

from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver.stack import Stack
from orchestrator.memory import keys
from tests.browser.conftest import NARROW, WIDE, CheckAxe, new_key, sign_in
from tests.browser.faults import Faults, watch

_PATHS = "async () => (await import('/console/pages.js')).pages.map((page) => page.path)"
_IS_TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def static_pages(page: Page) -> list[str]:
    """Return the addresses of the pages without a parameter, but for the one that a signed-in reader leaves."""
    page.goto("/")
    paths: list[str] = page.evaluate(_PATHS)
    return [path for path in paths if ":" not in path and path != "/sign-in"]


def test_every_page_is_accessible_in_both_themes_and_fits_a_phone(page: Page, axe: CheckAxe) -> None:
    for path in static_pages(page):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for size in (NARROW, WIDE):
            page.set_viewport_size(size)
            assert page.evaluate(_IS_TOO_WIDE) <= 0, (path, size)
        axe(page)


def test_the_navigation_leads_to_each_page_and_the_browser_leads_back(page: Page) -> None:
    page.goto("/")
    links = page.get_by_role("navigation", name="Main").get_by_role("link")
    for name in links.all_text_contents():
        page.get_by_role("navigation", name="Main").get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(links.filter(has_text=name)).to_have_attribute("aria-current", "page")
        page.go_back()
        expect(page).to_have_url(re.compile(r"/$"))


def test_the_keyboard_skips_to_the_content(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    assert skip.evaluate("(link) => link.getBoundingClientRect().top") >= 0
    outline = skip.evaluate("(link) => getComputedStyle(link).outlineStyle")
    page.keyboard.press("Enter")

    assert outline == "solid"
    expect(page.get_by_role("main")).to_be_focused()


def test_the_reader_s_theme_overrides_the_system_s_and_is_kept(page: Page) -> None:
    background = "() => getComputedStyle(document.body).backgroundColor"
    page.goto("/")
    seen = {}
    for system in ("light", "dark"):
        page.emulate_media(color_scheme=system)
        for chosen in ("system", "light", "dark"):
            page.get_by_label("Colours").select_option(chosen)
            seen[system, chosen] = page.evaluate(background)
    light, dark = seen["light", "system"], seen["dark", "system"]

    assert light != dark
    assert {seen[system, "light"] for system in ("light", "dark")} == {light}
    assert {seen[system, "dark"] for system in ("light", "dark")} == {dark}
    page.emulate_media(color_scheme="light")
    page.reload()
    expect(page.get_by_label("Colours")).to_have_value("dark")
    assert page.evaluate(background) == dark


def test_nothing_moves_for_a_reader_who_wants_no_motion(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    moving = page.evaluate(
        "() => [...document.querySelectorAll('*')].filter((element) => {"
        " const style = getComputedStyle(element);"
        " return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0; }).length"
    )

    assert moving == 0


def test_an_unknown_address_says_so(page: Page, faults: Faults, axe: CheckAxe) -> None:
    faults.allow("404 .*/no/such")
    page.goto("/no/such/page")

    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    axe(page)


def test_without_scripts_the_page_says_what_to_do(browser: Browser, stack: Stack) -> None:
    context = browser.new_context(base_url=stack.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/tasks")

    # playwright's locators by text and by role leave <noscript> out
    expect(page.locator("noscript p")).to_be_visible()
    assert "The console needs JavaScript" in page.locator("noscript p").inner_text()
    page.locator("noscript a").click()
    expect(page).to_have_url(re.compile("/docs$"))
    context.close()


def test_a_session_that_ends_leads_to_the_sign_in_page_and_back(
    context: BrowserContext, stack: Stack, faults: Faults
) -> None:
    faults.allow("401 .*/v1/")
    first, second = (new_key(stack, scopes=("all",)) for _ in range(2))
    sign_in(context, stack, first)
    page = watch(context.new_page(), faults)
    page.goto("/tasks?goal=x")
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()

    engine = open_engine(stack.database_url, pool_size=1)
    with transaction(engine) as conn:
        assert keys.revoke(conn, first.split("_")[2])
    engine.dispose()

    # the page polls; the API remembers for 5 s that the key was valid
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=30_000)
    page.get_by_label("API key").fill(second)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    assert page.url.endswith("/tasks?goal=x")


def test_while_the_api_is_away_the_page_says_so_and_goes_on_by_itself(page: Page, faults: Faults) -> None:
    faults.allow("net::ERR_FAILED")
    page.goto("/")
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()

    page.context.route("**/v1/**", lambda route: route.abort())
    expect(page.get_by_text("The API can't be reached")).to_be_visible()
    page.context.unroute("**/v1/**")

    expect(page.get_by_text("The API can't be reached")).to_be_hidden()
