"""The pages of schedules in a browser: make one, trigger, pause, resume and delete it, and read its history."""

import json
import re

from playwright.sync_api import BrowserContext, Page, expect

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe, new_key, sign_in
from tests.browser.faults import Faults, watch

PLAN = {"steps": [{"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]}
BODY = {"name": "by the hour", "contract": {"goal": "do it again", "plan": PLAN}, "every_seconds": 3600}


def test_a_schedule_is_made_triggered_paused_resumed_and_deleted(
    page: Page, faults: Faults, axe: CheckAxe
) -> None:
    # the refused time zone
    faults.allow("status of 422")
    page.goto("/schedules")
    expect(page.get_by_text("There is no schedule yet.")).to_be_visible()
    axe(page)
    page.get_by_role("button", name="Make a schedule").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("nightly")
    dialog.get_by_label("Contract").fill("not JSON")
    expect(dialog.get_by_role("button", name="Make the schedule")).to_be_disabled()
    dialog.get_by_label("Contract").fill(json.dumps(BODY["contract"]))
    dialog.get_by_role("textbox", name="Cron line").fill("30 2 * * *")
    dialog.get_by_label("Time zone").fill("Europe/Atlantis")
    axe(page)
    dialog.get_by_role("button", name="Make the schedule").click()
    expect(dialog.get_by_role("alert")).to_contain_text("time zone")
    dialog.get_by_label("Time zone").fill("Europe/Berlin")
    dialog.get_by_text("As a command").click()
    expect(dialog.get_by_text("/v1/schedules")).to_be_visible()
    dialog.get_by_role("button", name="Make the schedule").click()

    expect(page.get_by_role("heading", name="nightly")).to_be_visible()
    expect(page.get_by_text("30 2 * * * (Europe/Berlin)")).to_be_visible()
    expect(page.locator("ol time")).to_have_count(5)
    expect(page.locator("ol time").first).to_contain_text(re.compile(r"0[23]:[03]0"))
    axe(page)
    page.get_by_role("button", name="Trigger").click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    started = page.locator("tbody tr", has_text="started (trigger)")
    expect(started).to_contain_text("completed")
    task = started.get_by_role("link")
    axe(page)
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("tbody tr", has_text="paused")).to_contain_text("as asked")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()

    here = page.url
    task.click()
    link = page.get_by_role("link", name=here.rpartition("/")[2])
    expect(link).to_be_visible()
    link.click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There is no schedule yet.")).to_be_visible()


def test_the_contract_of_the_page_new_task_can_be_scheduled(page: Page) -> None:
    page.goto("/new")
    page.get_by_label("Goal", exact=True).fill("Find the late deliveries")
    page.get_by_role("link", name="Schedule it instead").click()

    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Contract")).to_have_value(re.compile("Find the late deliveries"))


def test_a_fault_that_has_passed_is_no_longer_shown(page: Page, client: Client, faults: Faults) -> None:
    faults.allow("status of 503")
    path = f"/schedules/{client.call('POST', '/v1/schedules', BODY).body['schedule_id']}"
    page.goto(path)
    expect(page.get_by_role("heading", name="by the hour")).to_be_visible()

    page.route(
        f"**/v1{path}",
        lambda route: route.fulfill(status=503, json={"code": "queue_full", "message": "not now"}),
    )
    expect(page.get_by_role("alert")).to_contain_text("not now")
    page.unroute(f"**/v1{path}")

    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_reader_on_a_narrow_screen_sees_schedules_and_can_change_none(
    context: BrowserContext, stack: Stack, client: Client, *, tenant: str, faults: Faults, axe: CheckAxe
) -> None:
    made = client.call("POST", "/v1/schedules", BODY).body
    client.call("POST", f"/v1/schedules/{made['schedule_id']}/trigger")
    client.call("POST", f"/v1/schedules/{made['schedule_id']}/pause")
    sign_in(context, stack, new_key(stack, scopes=("task:read",), tenant=tenant))
    page = watch(context.new_page(), faults)
    page.set_viewport_size(NARROW)

    for path in ("/schedules", f"/schedules/{made['schedule_id']}"):
        page.goto(path)
        expect(page.get_by_text("paused").first).to_be_visible()
        axe(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        for name in ("Make a schedule", "Trigger", "Resume", "Delete"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
