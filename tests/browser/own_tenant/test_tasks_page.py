"""The list of tasks: filters, sort, pages, and rows that keep their places while tasks arrive."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.browser.faults import Faults

PLAN = {"steps": [{"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]}
GATED = {"steps": [{**PLAN["steps"][0], "approval": {"ask": "May it run?"}}]}


def rows(page: Page) -> Locator:
    return page.locator("tbody tr")


def query(page: Page) -> dict[str, Any]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def submit(client: Client, goal: str, plan: dict[str, Any] = PLAN) -> str:
    return client.submit(goal, plan=plan, cache={"mode": "bypass"})


def test_without_a_task_the_page_says_what_to_do_and_shows_the_first_one(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    page.goto("/")

    expect(page.get_by_text("No task was submitted yet.")).to_be_visible()
    expect(page.get_by_text("octollm run 'Say hello'")).to_be_visible()
    axe(page)
    submit(client, "The very first")

    expect(rows(page)).to_have_count(1)
    expect(page.get_by_role("link", name="The very first")).to_be_visible()


def test_a_row_shows_state_progress_cost_and_what_waits(page: Page, client: Client, axe: CheckAxe) -> None:
    done = submit(client, "Do it")
    client.end_of(done)
    submit(client, "Ask first", GATED)
    page.goto("/tasks")

    first, second = rows(page).nth(0), rows(page).nth(1)
    expect(first).to_contain_text("1 approval")
    expect(first).to_contain_text("processing")
    expect(second).to_contain_text("completed")
    expect(second).to_contain_text("100 %, 1 of 1 step")
    expect(second).to_contain_text("$0")
    expect(second.get_by_role("progressbar")).to_have_attribute("value", "100")
    expect(second.locator("time").first).to_contain_text("ago")
    axe(page)


def test_filters_and_sort_are_in_the_address_and_survive_a_reload(page: Page, client: Client) -> None:
    for goal in ("late orders", "early orders", "late invoices"):
        client.end_of(submit(client, goal))
    client.call("DELETE", f"/v1/tasks/{submit(client, 'late and gated', GATED)}")
    page.goto("/tasks")
    expect(rows(page)).to_have_count(4)

    page.keyboard.press("/")
    page.keyboard.type("late")
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="completed").click()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("button", name="Duration").click()
    expect(page.get_by_role("columnheader", name="Duration")).to_have_attribute("aria-sort", "descending")
    assert query(page) == {"goal": "late", "status": "completed", "sort": "longest"}
    page.reload()

    expect(rows(page)).to_have_count(2)
    expect(page.get_by_label("Goal")).to_have_value("late")
    expect(page.get_by_role("button", name="cancelled")).to_contain_text("1")
    page.get_by_role("button", name="Clear filters").click()
    expect(rows(page)).to_have_count(4)
    assert query(page) == {"sort": "longest"}


def test_a_filter_that_nothing_fits_is_said_with_a_way_back(page: Page, client: Client) -> None:
    submit(client, "something")
    page.goto("/tasks?goal=nothing+like+it&min_cost=5")

    expect(page.get_by_text("No task fits these filters.")).to_be_visible()
    page.get_by_role("button", name="Show all tasks").click()
    expect(rows(page)).to_have_count(1)


def test_tasks_that_arrive_wait_for_a_click_and_move_no_row(page: Page, client: Client) -> None:
    submit(client, "the old one")
    page.goto("/tasks")
    expect(rows(page)).to_have_count(1)

    submit(client, "the new one")
    show = page.get_by_role("button", name="1 new: show")
    expect(show).to_be_visible()
    expect(rows(page)).to_have_count(1)
    show.click()

    expect(rows(page).nth(0)).to_contain_text("the new one")
    expect(rows(page).nth(1)).to_contain_text("the old one")
    expect(show).to_be_hidden()


def test_fifty_rows_a_page_and_the_way_back(page: Page, client: Client) -> None:
    for number in range(52):
        submit(client, f"number {number}")
    page.goto("/tasks")
    expect(rows(page)).to_have_count(50)
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()

    page.get_by_role("button", name="Next").click()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(1)).to_contain_text("number 0")
    page.reload()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("button", name="First page").click()

    expect(rows(page)).to_have_count(50)
    assert query(page) == {}


def test_the_arrow_keys_go_through_the_rows_and_enter_opens_one(page: Page, client: Client) -> None:
    submit(client, "below")
    above = submit(client, "above")
    page.goto("/tasks")
    expect(rows(page)).to_have_count(2)

    page.get_by_role("link", name="above").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="below")).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{page.url.split('/tasks')[0]}/tasks/{above}")


def test_an_unchanged_list_is_read_again_without_its_content(page: Page, client: Client) -> None:
    client.end_of(submit(client, "still"))
    page.goto("/tasks")
    expect(rows(page)).to_have_count(1)

    with page.expect_response(lambda answer: "/v1/tasks?" in answer.url and answer.status == 304):
        pass
    expect(rows(page)).to_have_count(1)


def test_on_a_narrow_screen_each_row_is_a_card(page: Page, client: Client, axe: CheckAxe) -> None:
    page.set_viewport_size(NARROW)
    submit(client, "a goal of " + "many words " * 20)
    page.goto("/tasks?min_cost=0")
    expect(rows(page)).to_have_count(1)

    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0
    expect(page.get_by_label("Sort")).to_be_visible()
    axe(page)


def test_an_invalid_filter_in_the_address_is_explained(page: Page, faults: Faults) -> None:
    faults.allow(r"422 .*/v1/tasks")
    page.goto("/tasks?sort=odd")

    expect(page.get_by_role("alert")).to_contain_text("sort")
