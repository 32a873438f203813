"""A task's page follows its events, and goes on by itself after the connection or the API was away."""

import os
import re
import signal
from pathlib import Path

from playwright.sync_api import Page, expect

from orchestrator.devserver.stack import Stack
from tests.acceptance.client import Client
from tests.acceptance.plans import wait
from tests.acceptance.test_approvals import waiting
from tests.browser.faults import Faults
from tests.waiting import wait_until

# notes each event that a stream brought, and lets a test cut the connection
_SPY = """
window.streamed = [];
window.sockets = [];
const Original = window.WebSocket;
window.WebSocket = class extends Original {
  constructor(...given) {
    super(...given);
    window.sockets.push(this);
    this.addEventListener("message", ({data}) => {
      const {seq} = JSON.parse(data);
      if (seq) window.streamed.push(seq);
    });
  }
};
"""

_HIDES = """
let hidden = false;
Object.defineProperty(document, "hidden", {get: () => hidden, set: (to) => hidden = to});
"""
# the stream loses its first event
_LOSES = """
window.lost = 0;
const Spied = window.WebSocket;
window.WebSocket = class extends Spied {
  set onmessage(handler) {
    super.onmessage = (message) => {
      if (window.lost === 0 && JSON.parse(message.data).seq) window.lost = JSON.parse(message.data).seq;
      else handler(message);
    };
  }
};
"""
ASK = {"ask": "go on?"}
BUSY = [wait(f"s{number}", 0.5) for number in range(12)]


def test_events_arrive_live_and_the_end_is_told(page: Page, client: Client) -> None:
    page.add_init_script(_SPY)
    task = client.submit("Wait for a while", plan={"steps": [wait("a", approval=ASK), wait("b", 0.5, "a")]})
    page.goto(f"/tasks/{task}?view=table")

    expect(page.locator(".liveness")).to_contain_text(re.compile(r"connected, last heard .*last event"))
    client.decide(waiting(client, task), "approve")
    expect(page.locator(".liveness")).to_contain_text("ended")

    expect(page.locator('tr[data-step="b"]')).to_have_attribute("data-state", "done")
    size = len(client.events(task))
    expect(page.get_by_role("slider", name="Event")).to_have_value(str(size))
    streamed = page.evaluate("window.streamed")
    assert streamed == list(range(size - len(streamed) + 1, size + 1))


def test_the_page_goes_on_after_the_api_was_killed_without_a_reload(
    page: Page, client: Client, stack: Stack, faults: Faults
) -> None:
    faults.allow(r"WebSocket connection to .* failed|Failed to load resource: net::ERR_")
    page.add_init_script(_SPY)
    task = client.submit("Outlive the API", plan={"steps": [wait("a", approval=ASK), *BUSY]})
    page.goto(f"/tasks/{task}?view=table")
    expect(page.locator(".liveness")).to_contain_text("connected")
    page.evaluate("window.isTheSamePage = true")
    (web,) = stack.pids("web")

    for pid in [web, *_children(web)]:
        os.kill(pid, signal.SIGKILL)

    expect(page.locator(".liveness")).to_contain_text(re.compile(r"reconnecting.*last heard \d+ s ago"))
    wait_until(lambda: stack.pids("web") not in ([web], []), 60, "another API")
    expect(page.locator(".liveness")).to_contain_text("connected", timeout=60_000)
    client.decide(waiting(client, task), "approve")
    expect(page.locator(".liveness")).to_contain_text("ended", timeout=60_000)
    size = len(client.events(task))
    expect(page.get_by_role("slider", name="Event")).to_have_value(str(size))
    streamed = page.evaluate("window.streamed")
    assert page.evaluate("window.isTheSamePage")
    assert len(streamed) == len(set(streamed))
    assert streamed == sorted(streamed)


def test_a_lost_connection_is_made_again_and_no_event_is_lost_or_doubled(page: Page, client: Client) -> None:
    page.add_init_script(_SPY)
    task = client.submit("Lose the connection", plan={"steps": [wait("last", approval=ASK), *BUSY]})
    page.goto(f"/tasks/{task}?view=table")

    for count in range(1, 4):
        _until_connected(page, count)
        page.evaluate("window.sockets.at(-1).close()")
    _until_connected(page, 4)
    client.decide(waiting(client, task), "approve")
    expect(page.locator(".liveness")).to_contain_text("ended", timeout=60_000)

    size = len(client.events(task))
    expect(page.get_by_role("slider", name="Event")).to_have_value(str(size))
    expect(page.locator('tr[data-state="done"]')).to_have_count(len(BUSY) + 1)


def test_an_event_that_the_stream_left_out_is_read_again(page: Page, client: Client) -> None:
    page.add_init_script(_SPY + _LOSES)
    task = client.submit("Leave one out", plan={"steps": [wait("last", approval=ASK), *BUSY]})
    page.goto(f"/tasks/{task}?view=table")

    page.wait_for_function("() => window.lost > 0")
    client.decide(waiting(client, task), "approve")

    expect(page.locator(".liveness")).to_contain_text("ended")
    expect(page.get_by_role("slider", name="Event")).to_have_value(str(len(client.events(task))))
    expect(page.locator('tr[data-state="done"]')).to_have_count(len(BUSY) + 1)


def test_a_hidden_tab_has_no_connection_and_goes_on_when_it_is_seen(page: Page, client: Client) -> None:
    page.add_init_script(_SPY + _HIDES)
    task = client.submit("Be hidden", plan={"steps": [wait("a", approval=ASK), wait("b", 0, "a")]})
    page.goto(f"/tasks/{task}?view=table")
    expect(page.locator(".liveness")).to_contain_text("connected")

    page.evaluate("document.hidden = true; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".liveness")).to_contain_text("paused while the tab is hidden")
    closed = page.evaluate("window.sockets.map((socket) => socket.readyState)")
    client.decide(waiting(client, task), "approve")
    client.end_of(task)
    page.evaluate("document.hidden = false; document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator(".liveness")).to_contain_text("ended")
    assert all(state >= 2 for state in closed)
    expect(page.get_by_role("slider", name="Event")).to_have_value(str(len(client.events(task))))


def test_a_task_that_does_not_exist_is_said_to_be_gone(page: Page, faults: Faults) -> None:
    faults.allow(r"404 .*/v1/tasks/")
    page.goto("/tasks/task_0000000000000000")

    expect(page.get_by_role("heading", name="No such task")).to_be_visible()


def _until_connected(page: Page, times: int) -> None:
    """Wait until the page has opened so many connections, and the last one is open."""
    page.wait_for_function(
        "(times) => window.sockets.length >= times && window.sockets.at(-1).readyState === 1", arg=times
    )


def _children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
