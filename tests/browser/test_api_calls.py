"""How the console's pages call the API: they ask for changes, when it makes sense, and no more often than they may."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.browser.faults import Faults
from tests.waiting import wait_until

_POLL = """async () => {
  const {poll} = await import("/console/api_client.js");
  window.seen = [];
  window.stop = poll("/v1/thing", {
    everyMs: 2000,
    onData: (data) => window.seen.push(data.value),
    onError: (error) => window.seen.push(error.code),
  });
}"""
_HIDE = """(isHidden) => {
  Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


class Thing:
    """An endpoint that answers as the test says, and counts the calls."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.etags: list[str | None] = []
        self.answer: dict[str, Any] = {"status": 200, "json": {"value": 1}, "headers": {"ETag": '"1"'}}
        page.route("**/v1/thing", self._fulfil)

    def _fulfil(self, route: Route) -> None:
        self.etags.append(route.request.headers.get("if-none-match"))
        route.fulfill(**self.answer)

    def wait_for(self, calls: int) -> None:
        """Move the page's clock on until so many calls have come."""
        wait_until(lambda: self._has(calls), 20, f"call {calls}")

    def _has(self, calls: int) -> bool:
        if len(self.etags) < calls:
            self.page.clock.run_for(500)
        return len(self.etags) >= calls

    def refuse(self, status: int, code: str, **headers: str) -> None:
        """Answer with a problem from now on."""
        problem = {"code": code, "message": code, "details": {}}
        self.answer = {"status": status, "json": problem, "headers": headers}


@pytest.fixture
def thing(page: Page) -> Thing:
    """The endpoint, polled by a page that asks nothing else, whose clock the test moves."""
    page.clock.install()
    page.goto("/sign-in")
    made = Thing(page)
    page.evaluate(_POLL)
    seen(made, 1)
    return made


def seen(thing: Thing, count: int) -> list[Any]:
    """Return what the page was told, once there is so much of it."""
    thing.page.wait_for_function("(count) => window.seen.length >= count", arg=count)
    told: list[Any] = thing.page.evaluate("() => window.seen")
    return told


def test_a_poll_sends_the_etag_and_tells_only_changes(thing: Thing) -> None:
    thing.answer = {"status": 304, "headers": {"ETag": '"1"'}}
    thing.wait_for(2)
    thing.answer = {"status": 200, "json": {"value": 2}, "headers": {"ETag": '"2"'}}
    thing.wait_for(3)

    assert seen(thing, 2) == [1, 2]
    assert thing.etags == [None, '"1"', '"1"']


def test_a_poll_rests_while_its_tab_is_hidden(thing: Thing) -> None:
    thing.page.evaluate(_HIDE, True)
    thing.page.clock.run_for(60_000)
    assert len(thing.etags) == 1

    thing.page.evaluate(_HIDE, False)
    thing.wait_for(2)


def test_a_poll_waits_as_long_as_it_is_told(thing: Thing, faults: Faults) -> None:
    faults.allow("429")
    thing.refuse(429, "rate_limited", **{"Retry-After": "60"})
    thing.page.clock.run_for(2000)
    assert seen(thing, 2) == [1, "rate_limited"]

    thing.page.clock.run_for(58_000)
    assert len(thing.etags) == 2
    thing.answer = {"status": 200, "json": {"value": 1}, "headers": {"ETag": '"1"'}}
    thing.page.clock.run_for(2000)

    # the page showed an error, so it is told of the next answer even if that is the same as before
    assert seen(thing, 3) == [1, "rate_limited", 1]
    assert thing.etags[2] is None


def test_a_poll_that_was_stopped_asks_no_more(thing: Thing) -> None:
    thing.page.evaluate("() => window.stop()")
    thing.page.clock.run_for(60_000)

    assert len(thing.etags) == 1


def test_an_answer_that_is_no_json_is_an_error_with_its_status(page: Page, faults: Faults) -> None:
    faults.allow("502")
    page.goto("/sign-in")
    page.route("**/v1/thing", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))

    error = page.evaluate(
        """async () => {
          const {get} = await import("/console/api_client.js");
          return get("/v1/thing").catch(({name, status, code, retryAfter}) => ({name, status, code, retryAfter}));
        }"""
    )

    assert error == {"name": "ApiError", "status": 502, "code": "http_502", "retryAfter": 5}
