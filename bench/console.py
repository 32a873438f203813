"""Measures the console in Chromium: a live task of 1,000 events, dragging through them, and two tabs of 50 tasks.

A whole stack as `octollm up` runs it. A task has a plan of 200 steps, one of them for each of 200 items. Its page is
open while its events come, then in each of its views the event number is dragged to the beginning and back. Then two
tabs show a list of 50 tasks that have ended.

For each phase it prints: events, moves or polls; the longest time between two frames and the longest task, by the wall
clock; the longest task by the CPU time of the page's main thread, and how many took more than 100 ms; the CPU
milliseconds of the main thread in all and those of scripts, and for each event, move or poll. Wall-clock figures
include the time in which others used the cores, here the workers and the API, so the limit is one of CPU time. For the
list it also prints the CPU time that a poll costs the API. Exit status 1 if a task of the main thread took more than
100 ms of CPU time.

    python bench/console.py [phases: live, scrub, list; all by default, scrub needs live]

Needs playwright (`make test-browser` installs it) and a Chromium: $CHROMIUM, else the first one on PATH. Without them
it says so and measures nothing.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from orchestrator import settings
from orchestrator.auth import credential
from orchestrator.auth.credential import SCOPES
from orchestrator.chord.database import open_engine, transaction
from orchestrator.devserver.stack import ONE_OF_EACH, Stack
from orchestrator.memory import keys
from tests.acceptance.client import Client
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

PHASES: Final = ("live", "scrub", "list")
VIEWS: Final = ("Graph", "Timeline", "Steps")
TENANT: Final = "bench"
STEPS: Final = 200
ITEMS: Final = 200
TASKS: Final = 50
LIST_SECONDS: Final = 20
MOVES: Final = 120
LIMIT_MS: Final = 100
TASK_SECONDS: Final = 300
CATEGORIES: Final = ["toplevel", "blink.user_timing", "devtools.timeline", "v8.execute"]
# the events of a trace that are one turn of a thread's loop
TURNS: Final = ("ThreadControllerImpl::RunTask", "RunTask")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OBSERVE: Final = """
window.seen = { frames: [], tasks: [] };
let last = performance.now();
requestAnimationFrame(function tick(now) {
  seen.frames.push(now - last);
  last = now;
  requestAnimationFrame(tick);
});
new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((one) => one.duration)))
  .observe({ type: "longtask" });
"""


@dataclass
class Figures:
    """What a phase cost; times in milliseconds. `units` are its events, moves or polls.

    `api` is what one poll, of either tab, costs the API.
    """

    name: str
    units: int = 0
    frame: float = 0
    long_task: float = 0
    turns: list[float] = field(default_factory=list)
    busy: float = 0
    scripts: float = 0
    api: float | None = None

    def line(self) -> str:
        longest, units = max(self.turns, default=0), max(self.units, 1)
        over = sum(turn > LIMIT_MS for turn in self.turns)
        api = "" if self.api is None else f"{self.api:>10.1f}"
        return (
            f"{self.name:>8} {self.units:>6} {self.frame:>9.0f} {self.long_task:>9.0f} {longest:>9.0f} {over:>6} "
            f"{self.busy:>9.0f} {self.scripts:>9.0f} {self.busy / units:>9.1f}{api}"
        )


class Meter:
    """Measures what a page's main thread does inside a block."""

    def __init__(self, browser: "Browser", page: "Page") -> None:
        self._browser = browser
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    @contextmanager
    def measuring(self, figures: Figures) -> Iterator[None]:
        """Add what happens inside the block to `figures`."""
        before = self._metrics()
        self._page.evaluate("seen.frames.length = seen.tasks.length = 0")
        with tempfile.TemporaryDirectory(prefix="octollm-trace-") as folder:
            path = Path(folder) / "trace.json"
            self._browser.start_tracing(page=self._page, path=path, categories=CATEGORIES)
            yield
            self._browser.stop_tracing()
            figures.turns = sorted(turns_of(json.loads(path.read_text())["traceEvents"]))
        after = self._metrics()
        seen = self._page.evaluate("seen")
        figures.frame = max(seen["frames"], default=0)
        figures.long_task = max(seen["tasks"], default=0)
        figures.busy = 1000 * (after["TaskDuration"] - before["TaskDuration"])
        figures.scripts = 1000 * (after["ScriptDuration"] - before["ScriptDuration"])

    def _metrics(self) -> dict[str, float]:
        found = self._session.send("Performance.getMetrics")["metrics"]
        return {one["name"]: one["value"] for one in found}


def turns_of(trace: Sequence[dict[str, Any]]) -> Iterator[float]:
    """Yield the CPU milliseconds of each turn of the main threads of pages in a trace of Chromium."""
    mains = {
        (event["pid"], event["tid"])
        for event in trace
        if event.get("name") == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    for event in trace:
        if event.get("name") in TURNS and (event["pid"], event["tid"]) in mains and "tdur" in event:
            yield event["tdur"] / 1000


def plan_of(steps: int, items: int) -> dict[str, Any]:
    """Return a plan of steps that each follow one or two of the twelve before; the tenth has items."""
    random, made = Random(16), list[dict[str, Any]]()
    for number in range(steps):
        near = [one["id"] for one in made[-12:]]
        after = sorted({random.choice(near) for _ in range(2)}) if near else []
        read = {"$from": after[0], "pointer": "/values"} if after and after[0] != "s9" else number
        step: dict[str, Any] = {
            "id": f"s{number}",
            "arm": "retriever",
            "action": "collect",
            "inputs": {"values": {"a": number if number % 3 else read}},
            "depends_on": after,
        }
        if number == 9:
            step |= {"for_each": list(range(items)), "max_items": items, "inputs": {"values": {"$item": ""}}}
        made.append(step)
    return {"steps": made}


@contextmanager
def browsing(stack: Stack, executable: str) -> Iterator[tuple["Browser", "BrowserContext"]]:
    """Yield a Chromium and a profile of it that is signed in."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it may be missing

    engine = open_engine(stack.database_url, pool_size=1)
    with transaction(engine) as conn:
        key = keys.create(conn, tenant=TENANT, scopes=SCOPES)[1]
    engine.dispose()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        context = browser.new_context(base_url=stack.url, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(60_000)
        context.add_init_script(_OBSERVE)
        answer = context.request.post(
            "/v1/auth/session", data={"api_key": key}, headers={"Origin": stack.url}
        )
        assert answer.ok, answer.text()
        yield browser, context
        browser.close()


def watch_live(browser: "Browser", context: "BrowserContext", client: Client) -> tuple["Page", Figures]:
    """Submit the task, watch its page until it has ended, and return the page and what it cost."""
    page = context.new_page()
    page.goto("/tasks")
    task = client.submit(
        "Collect numbers", plan=plan_of(STEPS, ITEMS), budget={"max_time_seconds": TASK_SECONDS}
    )
    figures, meter = Figures("live"), Meter(browser, page)
    page.goto(f"/tasks/{task}")
    with meter.measuring(figures):
        wait_until(
            lambda: client.call("GET", f"/v1/tasks/{task}").body["completed_at"], TASK_SECONDS, "the task"
        )
        page.get_by_role("slider", name="Event").wait_for()
        figures.units = client.call("GET", f"/v1/tasks/{task}").body["event_seq"]
        page.wait_for_function(f"document.querySelector('input[type=range]').max === '{figures.units}'")
    return page, figures


def scrub(browser: "Browser", page: "Page", view: str) -> Figures:
    """Show a view of the task, and drag the event number to the beginning and back."""
    figures = Figures(view, units=2 * MOVES)
    page.get_by_role("tab", name=view).click()
    page.get_by_role("tabpanel", name=view).wait_for()
    slider = page.get_by_role("slider", name="Event")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    with Meter(browser, page).measuring(figures):
        page.mouse.move(box["x"] + box["width"] - 8, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + 8, middle, steps=MOVES)
        page.mouse.move(box["x"] + box["width"] - 8, middle, steps=MOVES)
        page.mouse.up()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return figures


def watch_lists(browser: "Browser", context: "BrowserContext", client: Client, stack: Stack) -> list[Figures]:
    """Show a list of tasks that have ended in two tabs, and return what each costs."""
    one = {"steps": [{"id": "a", "arm": "retriever", "action": "collect", "inputs": {"values": [1]}}]}
    tasks = [client.submit(f"Collect number {number}", plan=one) for number in range(TASKS)]
    wait_until(
        lambda: all(client.call("GET", f"/v1/tasks/{task}").body["completed_at"] for task in tasks),
        TASK_SECONDS,
        "the tasks",
        every=1,
    )
    polls: list[Request] = []
    found, pages = list[Figures](), [context.new_page() for _ in range(2)]
    for page in pages:
        page.goto("/tasks?limit=50")
        page.locator("tbody tr").nth(TASKS - 1).wait_for()
        page.on("request", lambda request: polls.append(request) if "/v1/tasks" in request.url else None)
    for page in pages:
        page.bring_to_front()
        figures, api = Figures("list"), api_seconds(stack)
        with Meter(browser, page).measuring(figures):
            polls.clear()
            page.wait_for_timeout(LIST_SECONDS * 1000)
        figures.units = sum(request.frame.page == page for request in polls)
        figures.api = 1000 * (api_seconds(stack) - api) / max(len(polls), 1)
        found.append(figures)
    return found


def api_seconds(stack: Stack) -> float:
    """Return the CPU seconds that the API's processes have used, with those of children that ended."""
    total = 0
    for pid in stack.pids("web"):
        group = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for one in group:
            parts = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, parts[11:15]))
    return total / _TICKS


def chromium() -> str | None:
    """Return the path of Chromium; None, with a message, if the browser or playwright is missing."""
    try:
        import playwright  # noqa: F401, PLC0415 - it may be missing
    except ImportError:
        print("not measured: playwright is not installed; `make test-browser` installs it", file=sys.stderr)
        return None
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        print("not measured: there is no chromium on PATH; install it, or set CHROMIUM", file=sys.stderr)
    return found


def main(phases: Sequence[str]) -> int:
    """Run the phases and print a line for each; return the exit status."""
    executable = chromium()
    if executable is None:
        return 0
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="octollm-console-") as folder:
        limits = dict.fromkeys(("RATE_LIMIT", "SESSION_RATE_LIMIT"), "1000000/minute")
        stack = Stack(Path(folder), port=0, environ={**limits, "LOG_LEVEL": "warning"}, processes=ONE_OF_EACH)
        with stack, browsing(stack, executable) as (browser, context):
            known = settings.load(stack.environ)
            client = Client(
                stack.url, credential.sign_token(known, tenant=TENANT, key_id="bench", scopes=SCOPES)
            )
            if "live" in phases:
                page, figures = watch_live(browser, context, client)
                found.append(figures)
                if "scrub" in phases:
                    found += [scrub(browser, page, view) for view in VIEWS]
                page.close()
            if "list" in phases:
                found += watch_lists(browser, context, client, stack)
    print(f"{'':>15} {'longest, wall ms':>19} {'CPU ms of the main thread':>36} {'of the API':>11}")
    names = ("phase", "units", "frame", "task", "longest", ">100", "all", "scripts", "a unit", "a poll")
    print("{:>8} {:>6} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9}".format(*names))
    for figures in found:
        print(figures.line())
    return int(any(turn > LIMIT_MS for figures in found for turn in figures.turns))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or PHASES))
