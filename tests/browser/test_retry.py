"""Retrying from a step: the preview says what runs, and the new task does that."""

from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.integration.kit import wait_step


def test_a_retry_from_a_step_is_previewed_and_then_does_that(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    plan = {"steps": [wait_step("a"), wait_step("b", "a"), wait_step("c", "b")]}
    task = client.submit("Wait thrice", plan=plan)
    client.end_of(task)
    page.goto(f"/tasks/{task}?view=table&step=b")
    page.get_by_role("complementary", name="Step b").get_by_role("button", name="Retry from here…").click()

    dialog = page.get_by_role("dialog", name="Retry this task")
    expect(dialog).to_contain_text("Runs: 2 steps. Reused: 1 step.")
    rows = dialog.get_by_role("row")
    expect(rows.filter(has_text="runs")).to_have_count(2)
    expect(rows.filter(has_text="as asked")).to_contain_text("b")
    expect(rows.filter(has_text="depends on one that runs")).to_contain_text("c")
    expect(rows.filter(has_text="reused")).to_contain_text("a")
    axe(page)
    page.set_viewport_size(NARROW)
    axe(page)
    dialog.get_by_label("Run again").select_option("from c")
    expect(dialog).to_contain_text("Runs: 1 step.")
    assert len(client.call("GET", "/v1/tasks?goal=Wait%20thrice").body["tasks"]) == 1

    dialog.get_by_role("button", name="Start the retry").click()

    expect(page.get_by_role("link", name=task)).to_be_visible()
    again = page.url.rsplit("/", 1)[-1].partition("?")[0]
    done = client.end_of(again)
    assert [step["reused_from"] for step in done["steps"]] == [task, task, None]


def test_a_retry_of_an_open_task_is_not_offered(page: Page, client: Client) -> None:
    task = client.submit("Wait long", plan={"steps": [{**wait_step("a"), "inputs": {"seconds": 60}}]})
    page.goto(f"/tasks/{task}?view=table")

    expect(page.get_by_role("button", name="Cancel the task")).to_be_visible()
    expect(page.get_by_role("button", name="Retry", exact=True)).to_have_count(0)
    client.call("POST", f"/v1/tasks/{task}/cancel")
