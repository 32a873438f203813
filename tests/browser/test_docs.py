"""The API's description: readable without scripts, and with them a place to try each operation."""

from playwright.sync_api import Browser, Page, expect

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.browser.faults import Faults


def test_it_begins_with_tasks_and_leads_to_each_operation(page: Page, axe: CheckAxe) -> None:
    page.goto("/docs")
    expect(page.get_by_role("heading", level=2).first).to_have_text("tasks")
    expect(page.get_by_role("heading", name="First call")).to_be_visible()
    expect(page.locator(".introduction li code").first).to_have_text("Authorization: Bearer TOKEN")

    page.get_by_role("navigation", name="Operations").get_by_role("link", name="post /plans/check").click()

    assert page.url.endswith("/docs#plans_check")
    expect(page.locator("#plans_check .curl")).to_contain_text(
        'curl -sS -X POST "$OCTOLLM_URL/v1/plans/check"'
    )
    axe(page)


def test_a_read_is_tried_with_the_session(page: Page, client: Client) -> None:
    task = client.submit("Scan this text for secrets", context="Call me at noon.")
    page.goto("/docs#tasks_show")
    article = page.locator("#tasks_show")
    article.get_by_role("button", name="Try it").click()
    article.get_by_label("task_id").fill(task)
    article.get_by_role("button", name="Send").click()

    expect(article.get_by_label("Answer")).to_contain_text(f'"task_id": "{task}"')
    expect(article.get_by_text("200 OK")).to_be_visible()


def test_a_write_asks_first(page: Page, client: Client, axe: CheckAxe) -> None:
    page.goto("/docs#plans_check")
    article = page.locator("#plans_check")
    article.get_by_role("button", name="Try it").click()
    body = article.get_by_label("Body", exact=True)
    body.fill('{"goal": ')
    expect(article.get_by_text("The body is no JSON")).to_be_visible()
    article.get_by_role("button", name="a plan of one's own").click()
    article.get_by_role("button", name="Send").click()
    dialog = page.get_by_role("dialog", name="Send it?")
    expect(dialog).to_contain_text("POST /v1/plans/check")
    axe(page)
    dialog.get_by_role("button", name="Close").click()
    expect(article.get_by_label("Answer")).to_have_count(0)

    article.get_by_role("button", name="Send").click()
    dialog.get_by_role("button", name="Send").click()

    expect(article.get_by_label("Answer")).to_contain_text('"faults": []')


def test_a_stranger_may_read_it_and_is_led_back_after_signing_in(
    stranger: Page, api_key: str, faults: Faults
) -> None:
    faults.allow(r"401 .*/v1/auth/session")
    stranger.goto("/docs")
    stranger.get_by_role("link", name="Sign in to try operations").click()
    stranger.get_by_label("API key").fill(api_key)
    stranger.get_by_role("button", name="Sign in").click()

    expect(stranger.get_by_role("heading", name="OctoLLM Orchestrator")).to_be_visible()
    expect(stranger.locator("#who")).to_have_text("acme")


def test_without_scripts_all_of_it_is_there(browser: Browser, stack: Stack) -> None:
    context = browser.new_context(base_url=stack.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/docs#tasks_submit")

    assert page.locator("#tasks_submit .curl").is_visible()
    page.locator("#tasks_submit summary").click()
    assert page.locator("#tasks_submit table").first.is_visible()
    assert page.get_by_role("button", name="Try it").count() == 0
    context.close()


def test_it_fits_a_narrow_screen(page: Page, axe: CheckAxe) -> None:
    page.set_viewport_size(NARROW)
    page.goto("/docs")

    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    axe(page)
