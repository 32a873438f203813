"""The page of the arms: what each does now and did in the last hour, as a table and as charts."""

import os
import re
import signal
from collections.abc import Iterator
from math import floor

import pytest
from playwright.sync_api import Page, expect

from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe

WAIT = {"id": "a", "arm": "executor", "action": "wait", "inputs": {"seconds": 0.2}}


def ran(client: Client) -> None:
    """Run a task with a step of the executor."""
    client.run(plan={"steps": [WAIT]}, cache={"mode": "bypass"})


def test_the_table_shows_each_arm_and_the_charts_of_the_chosen_one(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    ran(client)

    page.goto("/arms")
    row = page.get_by_role("row").filter(has=page.get_by_role("button", name="executor"))
    expect(row).to_contain_text("healthy")
    [arm] = [
        one for one in client.call("GET", "/v1/arms/statistics").body["arms"] if one["arm_id"] == "executor"
    ]
    expect(row).to_contain_text(f"{floor(arm['success_rate'] * 1000) / 10:g} %")
    row.get_by_role("button", name="executor").click()

    detail = page.get_by_role("region", name="Arm executor")
    for title in ("Steps queued and busy", "Steps ended in the minute", "How long they ran"):
        expect(detail.get_by_role("img", name=re.compile(title))).to_be_visible()
    expect(detail.get_by_role("img", name=re.compile(r"finished: last \d+, at most [1-9]"))).to_be_visible()
    assert page.url.endswith("/arms?arm=executor")
    expect(detail.locator("canvas")).to_have_count(3)
    detail.get_by_text("The same as a table").click()
    expect(detail.get_by_role("row")).to_have_count(61)
    page.get_by_role("button", name="15 min").click()
    expect(detail.get_by_role("row")).to_have_count(16)
    page.reload()
    expect(page.get_by_role("button", name="15 min")).to_have_attribute("aria-pressed", "true")
    expect(detail.locator("canvas")).to_have_count(3)
    axe(page)


def test_the_table_is_sorted_by_any_column_and_the_address_keeps_it(page: Page, client: Client) -> None:
    ran(client)

    page.goto("/arms")
    page.get_by_role("columnheader").get_by_role("button", name="Queued").click()
    expect(page.get_by_role("columnheader", name="Queued")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("columnheader").get_by_role("button", name="Arm").click()
    page.get_by_role("columnheader").get_by_role("button", name="Arm").click()
    page.reload()

    expect(page.get_by_role("columnheader", name="Arm")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody tr").first).to_contain_text("writer")


@pytest.fixture
def stopped_retriever(stack: Stack) -> Iterator[None]:
    """The retriever's workers do nothing, and nobody counts them as alive."""
    pids = stack.pids("retriever")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    engine = open_engine(stack.database_url, pool_size=1)
    with transaction(engine) as conn:
        conn.exec_driver_sql("UPDATE pools SET seen_at = now() - interval '1 minute' WHERE arm = 'retriever'")
    engine.dispose()
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.usefixtures("stopped_retriever")
def test_a_queue_without_a_worker_is_told_in_red_and_in_words(
    page: Page, client: Client, axe: CheckAxe
) -> None:
    step = {"id": "a", "arm": "retriever", "action": "collect", "inputs": {"values": [1]}}
    client.submit(plan={"steps": [step]}, cache={"mode": "bypass"})
    page.set_viewport_size(NARROW)

    page.goto("/arms")

    expect(page.get_by_role("alert").filter(has_text="retriever")).to_contain_text("1 queued step, no worker")
    row = page.get_by_role("row").filter(has=page.get_by_role("button", name="retriever"))
    expect(row).to_contain_text("unavailable")
    expect(row.get_by_text("1 queued step, no worker")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    row.get_by_role("button", name="retriever").click()
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
