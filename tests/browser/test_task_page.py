"""The page of one task."""

from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.integration.kit import wait_step


def test_a_task_shows_its_steps_and_its_end(page: Page, client: Client, axe: CheckAxe) -> None:
    task = client.submit("Wait twice", plan={"steps": [wait_step("a"), wait_step("b", "a")]})
    client.end_of(task)

    page.goto(f"/tasks/{task}?view=table")

    expect(page.get_by_role("heading", name="Wait twice")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="executor")).to_have_count(2)
    axe(page)
    page.set_viewport_size(NARROW)
    axe(page)
