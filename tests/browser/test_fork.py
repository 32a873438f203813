"""A fork and a replay from the console: the preview says what runs, and the new task leads to its comparison."""

from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import CheckAxe
from tests.integration.kit import wait_step


def test_a_fork_with_another_input_is_previewed_run_and_compared(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    plan = {"steps": [wait_step("a"), wait_step("b", "a"), wait_step("c", "b")]}
    task = client.submit("Wait otherwise", plan=plan)
    client.end_of(task)
    page.goto(f"/tasks/{task}?view=table")
    page.get_by_role("button", name="Retry", exact=True).click()
    dialog = page.get_by_role("dialog", name="Retry this task")
    expect(dialog).to_contain_text("Reused: 3 steps.")

    dialog.get_by_label("How").select_option("with changes")
    dialog.get_by_label("Step", exact=True).select_option("b")
    dialog.get_by_label("Its inputs that change, as JSON").fill("seconds: 2")
    dialog.get_by_label("What it is told in addition").focus()
    expect(dialog).to_contain_text("The inputs must be a JSON object")
    dialog.get_by_label("Its inputs that change, as JSON").fill('{"seconds": 0.01}')
    dialog.get_by_label("What it is told in addition").focus()
    expect(dialog).to_contain_text("Runs: 2 steps. Reused: 1 step.")
    expect(dialog.get_by_role("row").filter(has_text="its inputs are changed")).to_contain_text("b")
    expect(dialog).to_contain_text(f"octollm fork {task} --input b.seconds=0.01")
    axe(page)
    dialog.get_by_role("button", name="Start the retry").click()

    expect(page.get_by_role("link", name=task)).to_be_visible()
    page.get_by_role("link", name="what differs").click()
    expect(page.get_by_role("heading", name="What was set")).to_be_visible()
    expect(page.locator("tr.compare-first")).to_contain_text("b")
    axe(page)


def test_a_replay_runs_all_steps_for_nothing(page: Page, client: Client) -> None:
    task = client.submit("Wait once more", plan={"steps": [wait_step("a"), wait_step("b", "a")]})
    client.end_of(task)
    page.goto(f"/tasks/{task}?view=table")
    page.get_by_role("button", name="Retry", exact=True).click()
    dialog = page.get_by_role("dialog", name="Retry this task")

    dialog.get_by_label("How").select_option("replay: with the answers that models gave, for $0")

    expect(dialog).to_contain_text("Runs: 2 steps. Reused: 0 steps.")
    expect(dialog).to_contain_text(f"octollm replay {task}")
    dialog.get_by_role("button", name="Start the retry").click()
    expect(page.get_by_role("link", name=task)).to_be_visible()
    again = page.url.rsplit("/", 1)[-1].partition("?")[0]
    assert [step["reused_from"] for step in client.end_of(again)["steps"]] == [None, None]
