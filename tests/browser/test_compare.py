"""Comparing two tasks in a browser."""

from typing import Any

from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.browser.faults import Faults


def collect(name: str, *after: str, **values: Any) -> dict[str, Any]:
    step = {"id": name, "arm": "retriever", "action": "collect", "depends_on": list(after)}
    return {**step, "inputs": {"values": values}}


def test_two_tasks_are_compared_and_the_first_divergence_is_named(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    tasks = []
    for number in (1, 2):
        steps = [
            collect("a", n=1),
            collect("b", "a", n=number),
            collect("c", got={"$from": "b", "pointer": "/values/n"}),
        ]
        tasks.append(client.submit(f"Collect {number}", plan={"steps": steps}))
    for task in tasks:
        client.end_of(task)

    page.goto(f"/tasks/{tasks[0]}")
    page.get_by_role("main").get_by_role("link", name="Compare", exact=True).click()
    page.get_by_label("Other task").fill(tasks[1])
    page.get_by_role("button", name="Compare").click()

    expect(page.get_by_role("heading", name="First divergence")).to_be_visible()
    expect(page.get_by_role("region", name="What differs in b")).to_contain_text("/inputs/values/n")
    shown = page.get_by_role("region", name="Steps")
    expect(shown.get_by_role("row").filter(has_text="inputs differ")).to_have_count(2)
    expect(shown.get_by_role("row").filter(has_text="first")).to_contain_text("b")
    assert f"right={tasks[1]}" in page.url
    axe(page)
    page.get_by_label("Show those that are the same").check()
    expect(shown.get_by_role("row").filter(has_text="same")).to_have_count(1)
    page.set_viewport_size(NARROW)
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    shown.get_by_role("link", name=f"Open b of {tasks[1]}, round 1").click()
    expect(page.get_by_role("complementary", name="Step b")).to_be_visible()


def test_what_can_not_be_compared_says_why(page: Page, client: Client, faults: Faults) -> None:
    faults.allow(r"422 .*/diff")
    task = client.submit("Collect", plan={"steps": [collect("a", n=1)]})
    client.end_of(task)

    page.goto(f"/compare?left={task}&left_round=1&right_round=7")

    expect(page.get_by_role("alert")).to_contain_text("has no round 7")
