"""The page of one task: its head, its table of steps, and its cancellation."""

import json
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import collect, verify, wait
from tests.browser.conftest import NARROW, CheckAxe, new_key, sign_in
from tests.browser.faults import Faults, watch

_CASES = Path(__file__).parents[1] / "console" / "cases"
_COMPARE = """async ({events, statuses}) => {
  const { reduceAll } = await import('/console/task/reduce.js');
  const { statusOf } = await import('/console/task/steps_of.js');
  const states = Object.keys(statuses).map((seq) => [seq, statusOf(reduceAll(events, {to: Number(seq)}))]);
  return Object.fromEntries(states);
}"""


def test_a_task_shows_its_steps_and_its_end(page: Page, client: Client, axe: CheckAxe) -> None:
    task = client.submit("Wait twice", plan={"steps": [wait("a"), wait("b", 0, "a")]})
    client.end_of(task)

    page.goto(f"/tasks/{task}?view=table")

    expect(page.get_by_role("heading", name="Wait twice")).to_be_visible()
    expect(page.get_by_role("heading", name="Answer")).to_be_visible()
    expect(page.locator('tr[data-state="done"]')).to_have_count(2)
    axe(page)
    page.set_viewport_size(NARROW)
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_state_in_the_browser_is_the_servers_in_each_recorded_case(page: Page) -> None:
    page.goto("/tasks")
    for path in sorted(_CASES.glob("*.json")):
        case = json.loads(path.read_text())

        assert page.evaluate(_COMPARE, case) == case["statuses"], path.name


def test_toggles_and_the_order_of_the_table_are_in_the_address(page: Page, client: Client) -> None:
    plan = [collect("list", [1]), verify("check", 1, {"equals": 2}), wait("after", 0, "check"), wait("a")]
    task = client.submit("Fail a check", plan={"steps": plan})
    client.end_of(task)
    page.goto(f"/tasks/{task}?view=table")
    rows = page.locator("tr[data-step]")
    expect(rows).to_have_count(4)

    page.get_by_role("button", name="Errors first").click()
    expect(rows.first).to_have_attribute("data-step", "check")
    page.get_by_role("button", name="Not done").click()
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Not done").click()
    page.get_by_role("button", name="Errors first").click()
    page.get_by_role("columnheader", name="Step").get_by_role("button").click()

    expect(rows.first).to_have_attribute("data-step", "a")
    expect(page.get_by_role("columnheader", name="Step")).to_have_attribute("aria-sort", "ascending")


def test_a_task_is_cancelled_after_a_question(page: Page, client: Client, axe: CheckAxe) -> None:
    task = client.submit("Stop me", plan={"steps": [wait("a", approval={"ask": "go on?"})]})
    page.goto(f"/tasks/{task}?view=table")

    page.get_by_role("button", name="Cancel the task").click()
    dialog = page.get_by_role("dialog", name="Cancel this task?")
    dialog.get_by_label("Reason").fill("not needed")
    dialog.get_by_text("As a command").click()
    expect(dialog.get_by_text(f"octollm cancel {task}")).to_be_visible()
    axe(page)
    dialog.get_by_role("button", name="Cancel the task").click()

    expect(page.get_by_role("dialog", name="The task is cancelled")).to_contain_text("1 step stopped: a.")
    assert client.task(task)["status"] == "cancelled"
    page.keyboard.press("Escape")
    expect(page.locator(".liveness")).to_contain_text("ended")
    expect(page.locator('tr[data-step="a"]')).to_have_attribute("data-state", "cancelled")


def test_who_may_only_read_is_offered_no_action(
    context: BrowserContext, stack: Stack, client: Client, faults: Faults
) -> None:
    task = client.submit(plan={"steps": [wait("a", approval={"ask": "go on?"})]})
    sign_in(context, stack, new_key(stack, scopes=("task:read",)))
    reader = watch(context.new_page(), faults)
    reader.goto(f"/tasks/{task}?view=table")

    expect(reader.locator('tr[data-step="a"]')).to_have_attribute("data-state", "waiting")
    expect(reader.get_by_role("button", name="Cancel the task")).to_have_count(0)
