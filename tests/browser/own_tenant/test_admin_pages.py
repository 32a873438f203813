"""Dead steps, keys and the audit log in a browser."""

import json

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe, new_key, sign_in
from tests.browser.faults import Faults, watch

PLAN = {"steps": [{"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0}}]}
POISON = {"status": "failed", "error": {"code": "poison_step", "message": "Its worker died 3 times."}}


def give_up(stack: Stack, task_id: str) -> None:
    """Write what the sweeper writes about a step that killed its workers."""
    engine = open_engine(stack.database_url, pool_size=1)
    try:
        with transaction(engine) as conn:
            conn.exec_driver_sql(
                "UPDATE steps SET state = 'failed', kills = 3, result = %(result)s "
                "WHERE task_id = %(id)s AND kind = 'step'",
                {"id": task_id, "result": json.dumps(POISON)},
            )
    finally:
        engine.dispose()


def test_a_dead_step_is_listed_and_retried_as_a_new_task(
    page: Page, stack: Stack, client: Client, axe: CheckAxe
) -> None:
    page.goto("/dead-steps")
    expect(page.get_by_text("No step was given up.")).to_be_visible()
    task_id = client.run("kill workers", plan=PLAN, cache={"mode": "bypass"})["task_id"]
    give_up(stack, task_id)

    row = page.locator("tbody tr")
    expect(row).to_contain_text("Its worker died 3 times.")
    expect(row).to_contain_text("3 workers")
    expect(row.get_by_role("link", name=task_id)).to_have_attribute("href", f"/tasks/{task_id}")
    axe(page)
    row.get_by_role("button", name="Retry").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("As a command").click()
    expect(dialog.get_by_text(f"octollm retry {task_id} --from a")).to_be_visible()
    axe(page)
    dialog.get_by_role("button", name="Start the retry").click()

    page.wait_for_url(lambda url: "/tasks/task_" in url and task_id not in url)
    again = page.url.rpartition("/")[2].partition("?")[0]
    page.goto("/dead-steps")
    expect(row.get_by_role("link", name=again)).to_be_visible()


def test_a_key_is_made_shown_once_rotated_and_revoked(page: Page, axe: CheckAxe) -> None:
    page.goto("/keys")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("(yours)")
    axe(page)

    page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("nightly reports")
    dialog.get_by_label("task:cancel").uncheck()
    axe(page)
    dialog.get_by_role("button", name="Make the key").click()
    expect(dialog.get_by_role("heading", name="The new key")).to_be_visible()
    text = dialog.locator(".new-key").inner_text()
    axe(page)
    dialog.get_by_role("button", name="Close").click()

    row = page.locator("tbody tr", has_text="nightly reports")
    expect(row).to_contain_text("task:submit, task:read, arm:list")
    expect(row).to_contain_text("live")
    assert text.startswith("octo_live_")
    assert text.rpartition("_")[2] not in page.content()

    row.get_by_role("button", name="Rotate nightly reports").click()
    dialog.get_by_label("Overlap (hours)").fill("0")
    dialog.get_by_role("button", name="Rotate", exact=True).click()
    expect(dialog.locator(".new-key")).to_contain_text("octo_live_")
    dialog.get_by_role("button", name="Close").click()
    expect(row.get_by_text("expired")).to_be_visible()

    page.get_by_role("button", name="Revoke nightly reports").click()
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.get_by_text("revoked")).to_be_visible()
    expect(page.get_by_role("button", name="Revoke nightly reports")).to_be_hidden()


def test_a_new_key_signs_in(page: Page, context: BrowserContext, stack: Stack) -> None:
    page.goto("/keys")
    page.get_by_role("button", name="Make a key").click()
    page.get_by_role("button", name="Make the key").click()
    text = page.get_by_role("dialog").locator(".new-key").inner_text()

    sign_in(context, stack, text)
    page.goto("/tasks")

    navigation = page.get_by_role("navigation", name="Main")
    expect(navigation.get_by_role("link", name="Dead steps")).to_be_visible()
    expect(navigation.get_by_role("link", name="Keys")).to_be_hidden()


def test_without_the_scope_the_pages_say_what_is_missing(
    context: BrowserContext, stack: Stack, tenant: str, faults: Faults
) -> None:
    faults.allow(r"403 .*/v1/(keys|audit-log)")
    sign_in(context, stack, new_key(stack, scopes=("task:read",), tenant=tenant))
    page = watch(context.new_page(), faults)

    for path in ("/keys", "/audit-log"):
        page.goto(path)
        expect(page.get_by_role("alert")).to_contain_text("This needs the scope admin.")


def test_the_audit_log_shows_and_filters_what_was_done(page: Page, client: Client, axe: CheckAxe) -> None:
    client.call("POST", "/v1/keys", {"scopes": ["task:read"]})
    task_id = client.submit("be recorded", plan=PLAN)
    client.call("POST", "/v1/keys", {"scopes": ["root"]})
    page.goto("/audit-log")

    row = page.locator("tbody tr")
    expect(row.filter(has_text="task.submit").get_by_role("link", name=task_id)).to_be_visible()
    expect(row.filter(has_text="validation_error")).to_contain_text("failed")
    axe(page)
    page.get_by_label("Action").fill("key")
    expect(row.filter(has_text="task.submit")).to_have_count(0)
    page.get_by_label("Outcome").select_option("denied,failed")
    expect(row).to_have_count(1)
    assert page.url.endswith("/audit-log?action=key&outcome=denied%2Cfailed")
    page.reload()
    expect(row).to_have_count(1)
    page.get_by_role("button", name="Clear filters").click()
    expect(row.filter(has_text="task.submit")).to_have_count(1)


@pytest.mark.parametrize("path", ["/dead-steps", "/keys", "/audit-log"])
def test_nothing_sticks_out_of_a_narrow_screen(page: Page, path: str, axe: CheckAxe) -> None:
    page.set_viewport_size(NARROW)
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow == 0
    axe(page)
