"""The page New task: what is written is checked at once, files are dropped, and one submission makes one task."""

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Page, Route, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.browser.faults import Faults

GOOD_PLAN = {
    "steps": [
        {"id": "numbers", "arm": "retriever", "action": "collect", "inputs": {"values": [1, 2]}},
        {
            "id": "agree",
            "arm": "judge",
            "action": "verify",
            "inputs": {"value": {"$from": "numbers", "pointer": "/values/1"}, "check": {"at_least": 2}},
        },
    ]
}
DROP = """([name, text]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], name, {type: "text/plain"}));
    window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def task_of(page: Page, client: Client) -> dict[str, Any]:
    """Return the trace of the task that the page went to."""
    page.wait_for_url("**/tasks/task_*")
    return dict(client.call("GET", f"/v1/tasks/{page.url.rpartition('/')[2]}/trace").body)


def test_a_task_with_a_dropped_file_is_submitted(page: Page, client: Client, axe: CheckAxe) -> None:
    page.goto("/new")
    expect(page.get_by_text("A file may have 16.8 MB")).to_be_visible()
    page.get_by_label("Goal", exact=True).fill('Find "late delivery" in these notes')
    page.evaluate(DROP, ["notes.txt", "After a late delivery half of the price is paid back."])
    expect(page.get_by_role("button", name="Remove notes.txt")).to_be_visible()
    expect(page.get_by_text("A model makes the plan")).to_be_visible()
    axe(page)

    page.get_by_role("button", name="Submit the task").click()

    contract = task_of(page, client)["contract"]
    assert contract["goal"] == 'Find "late delivery" in these notes'
    assert len(contract["attachments"]) == 1


def test_the_faults_of_a_plan_stand_at_their_lines(page: Page, axe: CheckAxe) -> None:
    page.goto("/new?by=plan")
    page.get_by_label("Goal", exact=True).fill("See that two is enough")
    plan = page.get_by_label("Plan", exact=True)
    broken = json.loads(json.dumps(GOOD_PLAN))
    broken["steps"][1]["inputs"]["value"] = {"$from": "nobody"}
    text = json.dumps(broken, indent=2)
    plan.fill(text)

    faults = page.get_by_role("list", name="Faults of the plan")
    expect(faults).to_contain_text("there is no step 'nobody'")
    expect(page.get_by_role("button", name="Submit the task")).to_be_disabled()
    axe(page)
    faults.get_by_role("button").first.click()
    start = plan.evaluate(
        "area => [area === document.activeElement, area.value.slice(area.selectionStart).trimStart()]"
    )
    assert start[0]
    line = int(faults.get_by_role("button").first.inner_text().split()[1])
    assert start[1].split("\n")[0] in text.split("\n")[line - 1]

    plan.fill('{"steps": [}')
    expect(faults).to_contain_text('expected a value, not "}"')
    plan.fill(json.dumps(GOOD_PLAN))
    expect(page.get_by_text("No fault. 2 steps")).to_be_visible()
    expect(faults.get_by_role("listitem")).to_have_count(0)


def test_tab_indents_and_after_escape_leaves_the_plan(page: Page) -> None:
    page.goto("/new?by=plan")
    plan = page.get_by_label("Plan", exact=True)
    plan.focus()

    page.keyboard.press("Tab")
    expect(plan).to_have_value("  ")
    expect(plan).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")

    expect(plan).not_to_be_focused()
    expect(plan).to_have_value("  ")


def test_a_double_click_and_a_second_try_after_a_lost_answer_make_one_task(
    page: Page, client: Client, faults: Faults
) -> None:
    faults.allow(r"ERR_FAILED|Failed to load resource")
    goal = "Scan this text for secrets, once"
    page.goto("/new")
    page.get_by_label("Goal", exact=True).fill(goal)
    page.get_by_label("Context", exact=True).fill("Call me at noon.")
    submit = page.get_by_role("button", name="Submit the task")
    expect(submit).to_be_enabled()

    def lose(route: Route) -> None:
        # the submission arrives, its answer does not
        route.fetch()
        route.abort()

    page.route("**/v1/tasks", lose, times=1)
    submit.click()
    expect(page.get_by_role("alert").filter(has_text="The connection broke")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Goal", exact=True)).to_have_value(goal)
    submit.dblclick()

    task = task_of(page, client)
    found = client.call("GET", "/v1/tasks?limit=100").body["tasks"]
    assert [one["task_id"] for one in found if one["goal"] == goal] == [task["task_id"]]


def test_a_recipe_is_run_with_its_parameters(page: Page, client: Client, axe: CheckAxe) -> None:
    page.goto("/new")
    page.get_by_label("by a recipe").check()
    page.get_by_label("Recipe", exact=True).select_option("find-lines")
    assert page.url.endswith("/new?by=recipe&recipe=find-lines")
    page.evaluate(DROP, ["notes.txt", "one late line"])
    expect(page.get_by_text("recipe find-lines needs it")).to_be_visible()
    page.get_by_label("pattern", exact=True).fill("late")
    expect(page.get_by_text("No fault.")).to_be_visible()
    axe(page)

    page.get_by_role("button", name="Submit the task").click()

    contract = task_of(page, client)["contract"]
    assert (contract["recipe"], contract["parameters"]["pattern"]) == ("find-lines", "late")
    assert contract["goal"] == "Run the recipe find-lines with pattern=late"


def test_a_criterion_with_a_check_is_built_by_a_form(page: Page, client: Client, axe: CheckAxe) -> None:
    page.goto("/new?by=plan")
    page.get_by_label("Goal", exact=True).fill("See that two is enough, by a check")
    page.get_by_label("Plan", exact=True).fill(json.dumps(GOOD_PLAN))
    page.get_by_role("button", name="Add a criterion").click()
    page.get_by_label("Criterion 1", exact=True).get_by_role("textbox").first.fill("The first number is 1")
    page.get_by_role("button", name="Add a check").click()
    page.get_by_label("Step", exact=True).fill("number")
    page.get_by_label("Place (JSON pointer)").fill("/values/0")
    page.get_by_label("Check", exact=True).select_option("at_least")
    page.get_by_label("Number", exact=True).fill("1")
    expect(page.get_by_text("there is no step 'number' in the plan")).to_be_visible()
    page.get_by_label("Step", exact=True).fill("numbers")
    expect(
        page.get_by_text("The value at /values/0 in the output of step numbers is at least 1.")
    ).to_be_visible()
    expect(page.get_by_text("No fault.")).to_be_visible()
    axe(page)
    page.get_by_text("As a command", exact=True).click()
    expect(page.get_by_label("octollm line", exact=True)).to_contain_text("--plan plan.json --criteria")

    page.get_by_role("button", name="Submit the task").click()

    [criterion] = task_of(page, client)["contract"]["acceptance_criteria"]
    assert criterion["check"] == {"step": "numbers", "pointer": "/values/0", "at_least": 1}


def test_a_draft_outlives_the_session(
    page: Page, context: BrowserContext, api_key: str, faults: Faults
) -> None:
    faults.allow(r"401 .*/v1/")
    page.goto("/new")
    goal = page.get_by_label("Goal", exact=True)
    goal.fill("Not to be")
    # the goal was checked, so nothing asks the server before the next change
    expect(page.get_by_text("A model makes the plan")).to_be_visible()
    context.clear_cookies()
    goal.fill("Not to be lost")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    page.get_by_label("API key").fill(api_key)
    page.get_by_role("button", name="Sign in").click()

    expect(goal).to_have_value("Not to be lost")


def test_files_are_refused_before_they_are_sent_and_can_be_removed(page: Page) -> None:
    page.goto("/new")
    page.get_by_label("Goal", exact=True).fill("Scan this text for secrets")
    page.evaluate(DROP, ["empty.txt", ""])
    expect(page.get_by_text("is empty: attach a file with content")).to_be_visible()
    page.get_by_role("button", name="Remove empty.txt").click()
    expect(page.get_by_text("empty.txt")).to_have_count(0)

    page.locator("input[type=file]").first.set_input_files(
        [
            FilePayload(name=f"{name}.txt", mimeType="text/plain", buffer=name.encode())
            for name in ("one", "two")
        ]
    )
    page.get_by_role("button", name="Remove one.txt").click()

    expect(page.get_by_role("button", name="Remove two.txt")).to_be_visible()
    expect(page.get_by_text("one.txt")).to_have_count(0)


@pytest.mark.parametrize("way", ["goal", "recipe", "plan"])
def test_the_page_fits_a_narrow_screen(page: Page, axe: CheckAxe, way: str) -> None:
    page.set_viewport_size(NARROW)
    page.goto(f"/new?by={way}")
    page.get_by_role("button", name="Add a criterion").click()
    page.get_by_label("Criterion 1", exact=True).get_by_role("textbox").first.fill("Two is enough")
    page.get_by_role("button", name="Add a check").click()
    if way == "plan":
        page.get_by_label("Goal", exact=True).fill("g")
        page.get_by_label("Plan", exact=True).fill(json.dumps(GOOD_PLAN, indent=2))
        expect(page.get_by_text("No fault.")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    axe(page)
