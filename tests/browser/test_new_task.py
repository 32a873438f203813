"""The page New task: what is written is checked at once, files are dropped, and one submission makes one task."""

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

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
    """Return the status of the task that the page went to."""
    page.wait_for_url("**/tasks/task_*")
    return dict(client.get(f"/v1/tasks/{page.url.rpartition('/')[2]}"))


def test_a_task_with_a_dropped_file_is_submitted(page: Page, client: Client, axe: CheckAxe) -> None:
    page.goto("/new")
    expect(page.get_by_text("A file may have 16.8 MB")).to_be_visible()
    page.get_by_label("Goal", exact=True).fill('Find "late delivery" in these notes')
    page.evaluate(DROP, ["notes.txt", "After a late delivery half of the price is paid back."])
    expect(page.get_by_role("button", name="Remove notes.txt")).to_be_visible()
    expect(page.get_by_text("No fault.")).to_be_visible()
    axe(page)

    page.get_by_role("button", name="Submit the task").click()

    contract = client.get(f"/v1/tasks/{task_of(page, client)['task_id']}/trace")["contract"]
    assert contract["goal"] == 'Find "late delivery" in these notes'
    assert len(contract["attachments"]) == 1
