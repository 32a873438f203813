"""A task's page says what its open steps wait for, and leads to what would end the wait."""

from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.browser.test_approvals_page import gated, waiting
from tests.integration.kit import wait_step


def test_a_task_that_waits_for_a_person_says_so_and_leads_to_the_decision(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    approval = waiting(
        client, gated("Wait for the one that a sentence names?", by="the desk", expires_in=900)
    )

    page.goto(f"/tasks/{approval['task_id']}")

    sentences = page.get_by_role("region", name="What the task waits for")
    expect(sentences).to_contain_text("1 waiting for a person")
    expect(sentences).to_contain_text("Step a waits for approval by the desk until")
    expect(sentences).to_contain_text("The verdict waits for 1 open step.")
    axe(page)
    sentences.get_by_role("button", name="Show step a").click()
    assert "step=a" in page.url
    page.goto(f"/tasks/{approval['task_id']}")
    sentences.get_by_role("link", name="Decide").click()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("listitem").filter(has_text="a sentence names")).to_contain_text(
        "This was approved by"
    )
    client.end_of(approval["task_id"])
    page.go_back()
    expect(page.get_by_text("completed").first).to_be_visible()
    expect(sentences).to_have_count(0)


def test_the_urgent_sentences_come_first_and_the_others_are_behind_a_button(
    page: Page, client: Client
) -> None:
    names = [f"s{number}" for number in range(9)]
    first = {**gated("Wait for the many?"), "id": "first"}
    task_id = client.submit(
        plan={"steps": [first, *(wait_step(name, "first") for name in names)]}, cache={"mode": "bypass"}
    )
    page.set_viewport_size(NARROW)

    page.goto(f"/tasks/{task_id}")

    sentences = page.get_by_role("region", name="What the task waits for")
    expect(sentences.get_by_role("listitem").first).to_contain_text("Step first waits for approval")
    expect(sentences.get_by_text("Step s8 waits for 1 step: first.")).to_be_hidden()
    sentences.get_by_text("5 more").click()
    expect(sentences.get_by_text("Step s8 waits for 1 step: first.")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    client.call("DELETE", f"/v1/tasks/{task_id}")
