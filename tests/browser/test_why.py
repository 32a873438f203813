"""From a verdict down to a quote, an attempt and a model call; and the drawer of a step."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.fake_llm.command import read_script
from tests.fake_llm.server import FakeLLM
from tests.integration.kit import wait_step

EXAMPLES = Path(__file__).parents[2] / "examples"
CRITERION = "It says how long the refund takes"
PLAN, ANSWER, VERDICT = read_script(EXAMPLES / "fake_model.json")


@pytest.fixture
def judged(client: Client, fake: FakeLLM) -> Iterator[str]:
    """A task that models planned, did and judged: its criterion is proved by a quote."""
    fake.forget()
    fake.add(PLAN, ANSWER, VERDICT)
    manual = client.upload((EXAMPLES / "manual.md").read_bytes(), filename="manual.md")
    task = client.run(
        "When is a late delivery refunded?",
        attachments=[manual],
        acceptance_criteria=[CRITERION, "It is kind"],
        cache={"mode": "bypass"},
    )
    yield task["task_id"]
    fake.forget()


def collect(name: str, *after: str, **values: Any) -> dict[str, Any]:
    step = {"id": name, "arm": "retriever", "action": "collect", "depends_on": list(after)}
    return {**step, "inputs": {"values": values}}


def test_a_verdict_is_read_down_to_a_quote_and_a_model_call_by_keys(
    page: Page, client: Client, judged: str, axe: CheckAxe
) -> None:
    page.goto(f"/tasks/{judged}")
    why = page.get_by_role("region", name="Why")
    criteria = why.get_by_role("list", name="Criteria")
    expect(criteria.get_by_role("link").filter(has_text="It is kind")).to_contain_text("not checked")
    axe(page)

    position = [line for line in criteria.get_by_role("link").all_inner_texts() if CRITERION in line]
    assert len(position) == 1
    assert "met" in position[0]
    assert "by model" in position[0]
    criteria.get_by_role("link").first.focus()
    for _ in range(criteria.get_by_role("link").all_inner_texts().index(position[0])):
        page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(why.get_by_text("three days are named")).to_be_visible()
    expect(why.get_by_role("link", name="“takes three days” in answer")).to_be_focused()
    page.keyboard.press("Enter")

    expect(why.locator("blockquote")).to_contain_text("takes three days")
    expect(why.locator("mark").first).to_have_text("takes three days")
    expect(why.get_by_role("link", name="attempt 1")).to_be_focused()
    axe(page)
    page.keyboard.press("Enter")
    expect(why.get_by_role("link", name="retriever.answer@")).to_be_focused()
    page.keyboard.press("Enter")
    expect(why.get_by_text("A fake model for tests answered")).to_be_visible()
    expect(why.get_by_text("retriever.answer@1.1.0", exact=True)).to_be_visible()
    below = page.url
    page.keyboard.press("u")
    expect(why.get_by_text("Attempt 1", exact=True).first).to_be_visible()

    page.goto(below)
    expect(why.get_by_text("A fake model for tests answered")).to_be_visible()
    crumbs = why.get_by_role("navigation", name="Path from the verdict")
    expect(crumbs.get_by_role("listitem")).to_have_count(5)
    page.set_viewport_size(NARROW)
    axe(page)
    crumbs.get_by_role("link", name="Evidence in answer").click()
    why.get_by_role("button", name="Open the step").click()
    drawer = page.get_by_role("complementary", name="Step answer")
    expect(drawer.get_by_role("tab", name="Output")).to_have_attribute("aria-selected", "true")
    expect(drawer.locator("mark").first).to_have_text("takes three days")
    axe(page)


def test_the_judges_model_call_is_one_hop_from_what_it_decided(page: Page, judged: str) -> None:
    page.goto(f"/tasks/{judged}")
    why = page.get_by_role("region", name="Why")
    why.get_by_role("link").filter(has_text=CRITERION).click()
    why.get_by_role("link").filter(has_text="judged by").click()

    expect(why.get_by_text("judge.rubric@1.1.0")).to_be_visible()


def test_the_drawer_has_tabs_and_gives_the_focus_back(page: Page, client: Client, axe: CheckAxe) -> None:
    rows = [{"name": "b", "n": 10}, {"name": "a", "n": 9}, {"name": "c<b>", "n": 100}]
    task = client.submit(
        "Collect",
        plan={
            "steps": [collect("a", rows=rows), collect("b", got={"$from": "a", "pointer": "/values/rows"})]
        },
    )
    client.end_of(task)
    page.goto(f"/tasks/{task}?view=table&step=b&tab=inputs")
    drawer = page.get_by_role("complementary", name="Step b")
    expect(drawer.get_by_role("heading", name="Step b")).to_be_focused()
    expect(drawer.get_by_text("As the arm got them")).to_be_visible()
    expect(drawer.get_by_text("c<b>")).to_be_visible()

    drawer.get_by_role("button", name="See a/values/rows").click()
    drawer = page.get_by_role("complementary", name="Step a")
    expect(drawer.locator(".tree .marked")).to_contain_text("rows")
    drawer.get_by_role("tab", name="Output").focus()
    for name in ("Attempts (1)", "Model calls (0)", "Provenance", "Log"):
        page.keyboard.press("ArrowRight")
        expect(drawer.get_by_role("tab", name=name)).to_be_focused()
        axe(page)
    expect(drawer.get_by_role("region", name="Log")).to_contain_text("attempt 1 began on")
    assert "tab=log" in page.url
    page.set_viewport_size(NARROW)
    axe(page)

    page.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()
    assert "step=" not in page.url


def test_a_table_is_sorted_and_a_patch_is_shown_side_by_side(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    rows = [{"name": "b", "n": 10}, {"name": "a<i>", "n": 9}, {"name": "c", "n": 100}]
    patch = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n same\n-old\n+new <b>\n"
    task = client.submit("Collect", plan={"steps": [collect("p", rows=rows, patch=patch)]})
    client.end_of(task)
    page.goto(f"/tasks/{task}?step=p&tab=output")
    drawer = page.get_by_role("complementary", name="Step p")

    drawer.get_by_role("button", name="/values/rows as a table").click()
    table = drawer.get_by_role("table")
    for first in ("a<i>", "c"):
        table.get_by_role("button", name="n", exact=True).click()
        expect(table.get_by_role("row").nth(1)).to_contain_text(first)
    drawer.get_by_role("button", name="/values/patch as a diff").click()
    diff = drawer.get_by_role("region", name="/values/patch as a diff")
    expect(diff.locator(".diff-line.add")).to_contain_text("new <b>")
    expect(diff.locator(".diff-pair")).to_have_count(2)
    axe(page)
    drawer.get_by_role("button", name="Side by side").click()
    expect(diff.locator(".diff-pair")).to_have_count(0)
    page.set_viewport_size(NARROW)
    axe(page)


def test_a_failed_criterion_leads_to_the_place_that_its_rule_read(page: Page, client: Client) -> None:
    criterion = {"text": "There are many", "check": {"step": "a", "pointer": "/values/n", "at_least": 5}}
    task = client.submit(
        "Count", plan={"steps": [collect("a", n=1), wait_step("w", "a")]}, acceptance_criteria=[criterion]
    )
    client.end_of(task)
    page.goto(f"/tasks/{task}")
    why = page.get_by_role("region", name="Why")

    line = why.get_by_role("link").filter(has_text="There are many")
    expect(line).to_contain_text("failed")
    line.click()
    why.get_by_role("link").filter(has_text="a:/values/n is 1").click()

    expect(why.locator(".tree .marked")).to_have_text("n: 1")
    assert "why=c" in page.url
