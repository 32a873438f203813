"""The scrubber shows a task as the server had it after any event."""

import re
from threading import Event, Thread
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.acceptance.client import FINAL, Client
from tests.acceptance.plans import collect, ref, verify, wait
from tests.acceptance.test_approvals import waiting
from tests.browser.conftest import CheckAxe
from tests.ledger import append
from tests.waiting import wait_until

PLAN = [
    wait("a", 0.3),
    wait("b", 0.2, "a", approval={"ask": "May b run?"}),
    append("flaky", action="put", then="fail_for_now", seconds_before=0.2),
    collect("list", {"of": [1, 2, 3]}, "a"),
    {
        "id": "each",
        "arm": "executor",
        "action": "wait",
        "for_each": ref("list", "/values/of"),
        "inputs": {"seconds": 0.2},
        "depends_on": ["list"],
    },
    verify("check", ref("list", "/values/of"), {"equals": []}, depends_on=["list"]),
    wait("never", 0, "check"),
]


class Recorder:
    """Reads the task's status again and again, and keeps what was said, by the number of the last event."""

    def __init__(self, client: Client, task: str) -> None:
        self.client = client
        self.task = task
        self.statuses: dict[int, dict[str, Any]] = {}
        self._stopped = Event()
        self._thread = Thread(target=self._record)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _record(self) -> None:
        while not self._stopped.is_set():
            status = self.client.task(self.task)
            self.statuses[status["event_seq"]] = status


def test_the_state_at_each_event_is_the_servers(page: Page, client: Client, axe: CheckAxe) -> None:
    task, statuses = _recorded(client)
    events = client.events(task)
    page.goto(f"/tasks/{task}?view=table")
    slider = page.get_by_role("slider", name="Event")
    expect(slider).to_have_value(str(len(events)))
    assert len(statuses) > 8

    # forth and back
    for number in [*sorted(statuses), *sorted(statuses, reverse=True)]:
        slider.fill(str(number))
        expect(page.locator(".scrubber-told")).to_contain_text(
            f"{number} / {len(events)} {events[number - 1]['type']}"
        )
        _assert_same(page, statuses[number], events)
    axe(page)


def test_the_slider_is_moved_by_mouse_and_keys_and_its_place_is_in_the_address(
    page: Page, client: Client
) -> None:
    task = client.submit(plan={"steps": [wait("a"), wait("b", 0, "a")]})
    client.end_of(task)
    size = len(client.events(task))
    page.goto(f"/tasks/{task}?view=table")
    slider = page.get_by_role("slider", name="Event")
    expect(slider).to_have_value(str(size))

    _drag(page, slider, 1.0, 0.5)
    middle = int(slider.input_value())
    expect(page).to_have_url(re.compile(rf"at={middle}\b"))
    slider.press("ArrowLeft")
    expect(page).to_have_url(re.compile(rf"at={middle - 1}\b"))
    expect(slider).to_have_attribute("aria-valuetext", re.compile(rf"^event {middle - 1} of {size}, \w+"))
    page.reload()
    expect(slider).to_have_value(str(middle - 1))
    slider.press("Home")
    expect(page.get_by_text("There is no plan yet")).to_be_visible()
    page.get_by_role("button", name="Live").click()
    expect(slider).to_have_value(str(size))
    expect(page).not_to_have_url(re.compile("at="))

    assert 1 < middle < size


def _recorded(client: Client) -> tuple[str, dict[int, dict[str, Any]]]:
    """Run a task with an approval, a retry, a loop and a failing step; return what the API said meanwhile."""
    task = client.submit("Fail one step", plan={"steps": PLAN})
    with Recorder(client, task) as recorder:
        client.decide(waiting(client, task), "approve")
        client.end_of(task)
        wait_until(
            lambda: any(one["status"] in FINAL for one in list(recorder.statuses.values())),
            10,
            "the last status",
        )
    return task, recorder.statuses


def _assert_same(page: Page, status: dict[str, Any], events: list[dict[str, Any]]) -> None:
    """Compare the table with the server's steps after an event."""
    wanted = {
        one["step_id"]: (one["status"], one["attempt"], _counted(one["items"])) for one in status["steps"]
    }
    if not wanted:
        expect(page.get_by_text("There is no plan yet")).to_be_visible()
        return
    expect(page.locator("tr[data-step]")).to_have_count(len(wanted))
    shown = page.locator("tr[data-step]").evaluate_all(
        """rows => Object.fromEntries(rows.map((row) => [row.dataset.step, [row.dataset.state,
            Number(row.dataset.attempt), row.querySelector(".step-items")?.textContent.slice(2) ?? ""]]))"""
    )
    for name, server in wanted.items():
        if server != tuple(shown[name]):
            # a claim is told up to 0.2 s later
            assert (server[0], shown[name][0]) == ("running", "queued"), (name, server, shown[name])
            later = [one for one in events[status["event_seq"] :] if one["type"] == "step.started"]
            assert any(one["data"]["step"] == name for one in later), (name, server)


def _counted(items: dict[str, int] | None) -> str:
    """Return what the table shows of a loop's items."""
    return f"{items.get('done', 0)}/{sum(items.values())} items" if items else ""


def _drag(page: Page, slider: Locator, begin: float, end: float) -> None:
    """Drag the slider's knob from a share of its width to another."""
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    inner, left = box["width"] - 16, box["x"] + 8
    page.mouse.move(left + inner * begin, y)
    page.mouse.down()
    for part in range(1, 11):
        page.mouse.move(left + inner * (begin + (end - begin) * part / 10), y)
    page.mouse.up()
