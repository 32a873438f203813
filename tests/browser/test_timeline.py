"""The timeline of a task: waits and runs by time, attempts, what determined the end, and the budget by time."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.client import Client
from tests.acceptance.plans import collect, wait
from tests.browser.conftest import NARROW, CheckAxe
from tests.fake_llm.command import read_script
from tests.fake_llm.faults import Fault
from tests.fake_llm.server import FakeLLM
from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "When is a late delivery refunded?"
_, ANSWER, _ = read_script(EXAMPLES / "fake_model.json")

_BEGUN_AT = datetime(2026, 11, 29, 10, tzinfo=UTC)
_DRAW = """async (events) => {
  const { Timeline } = await import('/console/task/timeline.js');
  const { reduceAll } = await import('/console/task/reduce.js');
  const { html, render } = await import('/console/vendor.js');
  const place = document.createElement('div');
  place.id = 'drawn';
  document.querySelector('main').append(place);
  window.chosen = [];
  const onSelect = (name) => window.chosen.push(name);
  const props = { state: reduceAll(events), id: 'task_0000000000000000', selected: null, onSelect };
  render(html`<${Timeline} ...${props} />`, place);
}"""

_NOTE_CHANGES = """() => {
  window.ticks = [];
  const name = (change) => change.target.getAttribute('class') ?? '';
  const observer = new MutationObserver((changes) => window.ticks.push(changes.map(name)));
  observer.observe(document.querySelector('.tl-rows'), { subtree: true, attributes: true, childList: true });
}"""

_BUDGET = "**/v1/tasks/task_0000000000000000/budget"
_NO_BUDGET = {"limits": {"max_tokens": 1, "max_cost_dollars": 1}, "next_after": 0}

Told = tuple[float, str, dict[str, Any]]


@pytest.fixture(scope="module")
def waited(client: Client, fake: FakeLLM) -> Iterator[str]:
    """A task that has ended: one step was tried twice, steps waited for workers, and one for a person."""
    manual = client.upload((EXAMPLES / "manual.md").read_bytes(), filename="manual.md")
    fake.fail(Fault.SERVER_ERROR, match=QUESTION)
    fake.add(ANSWER)
    steps = [
        {"id": "answer", "arm": "retriever", "action": "answer", "inputs": {"question": QUESTION}},
        *(wait(f"work{number}", 0.4) for number in range(4)),
        collect("gate", [1], "answer", approval={"ask": "go on?", "by": "ann"}),
        collect("join", [1], "gate", "work0", "work1"),
    ]
    task = client.submit("Wait for all", plan={"steps": steps}, attachments=[manual])
    decide(client, task)
    assert client.end_of(task)["status"] == "completed"
    yield task
    fake.forget()


def decide(client: Client, task: str) -> None:
    """Approve the only step of the task that waits for a person."""
    path = f"/v1/approvals?state=pending&task_id={task}"
    wait_until(lambda: client.call("GET", path).body["approvals"], 60, "the question")
    # so that nothing but the decision determines the end
    wait_until(lambda: open_steps(client, task) == {"gate", "join"}, 60, "the other steps")
    (asked,) = client.call("GET", path).body["approvals"]
    body = {"decision": "approve", "proposal_hash": asked["proposal_hash"]}
    assert client.call("POST", f"/v1/approvals/{asked['approval_id']}/decision", body).status == 200


def open_steps(client: Client, task: str) -> set[str]:
    """Return the steps of a task that have not ended."""
    steps = client.call("GET", f"/v1/tasks/{task}").body["steps"]
    return {step["step_id"] for step in steps if step["status"] != "done"}


def bars(page: Page, step: str) -> Locator:
    """The bars of a step, the first attempt first."""
    return page.get_by_role("group", name=f"attempts of {step}", exact=True).get_by_role("button")


def told(*lines: Told) -> list[dict[str, Any]]:
    """Return events: seconds since the submission, type and data."""
    return [
        {
            "seq": seq,
            "timestamp": (_BEGUN_AT + timedelta(seconds=at)).isoformat(),
            "type": kind,
            "data": {"round": 1, **data},
        }
        for seq, (at, kind, data) in enumerate(lines, start=1)
    ]


def planned(*names: str) -> list[Told]:
    steps = [{"step": name, "arm": "executor", "depends_on": []} for name in names]
    return [(0, "task.submitted", {}), (0.2, "task.planned", {"steps": steps})]


def ran(name: str, *at: float) -> list[Told]:
    kinds = ("step.queued", "step.started", "step.completed")
    return [(seconds, kind, {"step": name, "attempt": 1}) for seconds, kind in zip(at, kinds, strict=True)]


def draw(page: Page, *lines: Told, calls: list[dict[str, Any]] | None = None) -> Locator:
    """Draw the timeline of events that the test makes, on a page of its own."""
    page.goto("/tasks")
    page.get_by_role("heading", name="Tasks").wait_for()
    # the server does not know the task: its budget is told here
    page.route(_BUDGET, lambda route: route.fulfill(json={**_NO_BUDGET, "entries": calls or []}))
    page.evaluate(_DRAW, told(*lines))
    return page.locator("#drawn")


def test_waits_and_attempts_are_told_apart_and_the_path_to_the_end_is_in_words(
    page: Page, waited: str, axe: CheckAxe
) -> None:
    page.goto(f"/tasks/{waited}?view=timeline")

    expect(bars(page, "answer")).to_have_count(2)
    expect(bars(page, "answer").first).to_have_accessible_name(
        re.compile(
            r"answer, round 1, attempt 1: .*waited for a worker .*, ran .*, waited for its next attempt"
        )
    )
    expect(bars(page, "gate")).to_have_accessible_name(re.compile(r"waited for a decision .*, ran"))
    expect(bars(page, "planner")).to_have_count(1)
    expect(bars(page, "judge")).to_have_count(1)
    path = page.get_by_text("The end was determined by:")
    expect(path).to_contain_text(re.compile(r"gate waited .* for a decision"))
    expect(page.get_by_role("list", name="Legend")).to_contain_text("waits for a worker")
    axe(page)
    page.set_viewport_size(NARROW)
    expect(page.locator(".timeline.narrow")).to_be_visible()
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_arrow_keys_go_from_bar_to_bar_and_enter_selects(page: Page, waited: str) -> None:
    page.goto(f"/tasks/{waited}?view=timeline")
    bars(page, "planner").focus()

    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")

    expect(bars(page, "answer").nth(1)).to_be_focused()
    expect(page.locator(".tl-details")).to_contain_text(
        re.compile(r"ran .*: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} to ")
    )
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"step=answer"))
    expect(page).to_have_url(re.compile(r"attempt=2"))
    expect(bars(page, "answer").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(bars(page, "work0")).to_have_count(1)


def test_attempts_are_picked_and_the_axis_fits_them(page: Page, waited: str) -> None:
    page.goto(f"/tasks/{waited}?view=timeline")

    page.get_by_role("combobox", name="Attempt").select_option("2")

    expect(page.get_by_role("list", name="1 row of the timeline")).to_be_visible()
    expect(bars(page, "answer")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"attempt=2"))
    page.get_by_role("combobox", name="Attempt").select_option("last of each")
    expect(bars(page, "answer")).to_have_count(1)
    expect(bars(page, "planner")).to_have_count(1)


def test_a_range_is_chosen_by_buttons_and_by_dragging_and_kept_in_the_address(
    page: Page, waited: str
) -> None:
    page.goto(f"/tasks/{waited}?view=timeline")
    page.get_by_role("button", name="Zoom in").click()
    expect(page).to_have_url(re.compile(r"zoom=\d+-\d+"))
    page.get_by_role("button", name="whole task").click()
    expect(page).not_to_have_url(re.compile(r"zoom="))

    picture = page.locator(".tl-picture").first
    box = picture.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 9, steps=4)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"zoom=\d+-\d+"))
    address = page.url
    page.reload()
    expect(page.get_by_role("button", name="Zoom out")).to_be_enabled()
    assert page.url == address


def test_the_scrubbers_moment_is_a_line_and_what_came_later_is_pale(page: Page, waited: str) -> None:
    page.goto(f"/tasks/{waited}?view=timeline&at=8")

    # across the rows, and in the budget's lane
    expect(page.locator(".tl-back .tl-now")).to_have_count(1)
    expect(page.locator(".tl-lane-picture .tl-now")).to_have_count(1)
    expect(page.locator(".tl-part.later").first).to_be_visible()
    page.goto(f"/tasks/{waited}?view=timeline")
    expect(bars(page, "join")).to_have_count(1)
    expect(page.locator(".tl-now")).to_have_count(0)


def test_the_budget_lane_has_what_the_models_were_charged(page: Page, client: Client, waited: str) -> None:
    totals = client.call("GET", f"/v1/tasks/{waited}/budget").body["totals"]
    page.goto(f"/tasks/{waited}?view=timeline&budget=tokens&colour=cost")

    lane = page.get_by_role("img", name=re.compile("budget by time in tokens"))

    expect(lane).to_have_accessible_name(
        re.compile(f"settled {totals['settled_tokens']:,}, reserved 0, limit [0-9,]+")
    )
    expect(page.locator(".tl-part.run[class*=cost-]").first).to_be_visible()
    page.get_by_role("combobox", name="Budget").select_option("dollars")
    expect(page.get_by_role("img", name=re.compile("budget by time in dollars"))).to_be_visible()


def test_a_running_bar_grows_and_nothing_else_changes(page: Page, client: Client) -> None:
    """The axis is laid out again only from time to time: in one of the ticks only what lasts changes."""
    task = client.submit("Wait long", plan={"steps": [wait("done"), wait("long", 60, "done")]})
    page.goto(f"/tasks/{task}?view=timeline")
    running = bars(page, "long").locator(".run.lasting")
    expect(running).to_have_count(1)
    first = float(running.get_attribute("width") or 0)

    page.evaluate(_NOTE_CHANGES)
    page.wait_for_function(
        "() => window.ticks.some((names) => names.every((name) => name.includes('lasting')))"
    )

    assert float(running.get_attribute("width") or 0) != first
    client.call("POST", f"/v1/tasks/{task}/cancel")
    expect(running).to_have_count(0)
    expect(bars(page, "long")).to_have_accessible_name(re.compile("cancelled"))


def test_a_wait_of_hours_is_compressed_beside_bursts_that_stay_legible(page: Page) -> None:
    question = {"step": "b", "approval_id": "appr_0000000000000000", "kind": "approval"}
    shown = draw(
        page,
        *planned("a", "b"),
        *ran("a", 0.2, 0.3, 1),
        (1, "approval.requested", question),
        (7201, "approval.decided", {**question, "state": "approved"}),
        (7201.1, "step.started", {"step": "b", "attempt": 1}),
        (7202, "step.completed", {"step": "b", "attempt": 1}),
    )

    expect(shown.get_by_text("‖2 h 00 min‖")).to_be_visible()
    expect(shown.get_by_role("img", name=re.compile("compressed: 2 h 00 min"))).to_be_visible()
    box = bars(page, "a").bounding_box()
    assert box
    assert box["width"] > 200
    expect(shown.get_by_text("2 h 00 m")).not_to_have_count(0)


def test_the_path_to_the_end_names_each_kind_of_wait(page: Page) -> None:
    plan = [{"step": "answer", "arm": "retriever", "depends_on": []}]
    plan.append({"step": "gate", "arm": "executor", "depends_on": ["answer"]})
    question = {"step": "gate", "approval_id": "appr_0000000000000000", "kind": "approval"}
    shown = draw(
        page,
        (0, "task.submitted", {}),
        (0.2, "task.planned", {"steps": plan}),
        (0.2, "step.queued", {"step": "answer", "attempt": 1}),
        (2.2, "step.started", {"step": "answer", "attempt": 1}),
        (3.2, "step.retrying", {"step": "answer", "attempt": 1, "delay_seconds": 4, "error": "unavailable"}),
        (7.2, "step.started", {"step": "answer", "attempt": 2}),
        (8.2, "step.completed", {"step": "answer", "attempt": 2}),
        (8.2, "approval.requested", question),
        (13.2, "approval.decided", {**question, "state": "approved"}),
        (13.2, "step.queued", {"step": "gate", "attempt": 1}),
        (13.2, "step.started", {"step": "gate", "attempt": 1}),
        (14.2, "step.completed", {"step": "gate", "attempt": 1}),
        (14.2, "task.completed", {}),
    )

    path = shown.get_by_text("The end was determined by:")
    expect(path).to_contain_text(
        "answer waited 2.0 s for a worker, ran 1.0 s, waited 4.0 s for its next attempt, ran 1.0 s"
    )
    expect(path).to_contain_text("gate waited 5.0 s for a decision, ran 1.0 s")


def test_items_of_a_loop_are_folded_and_of_many_rows_only_the_seen_ones_are_drawn(page: Page) -> None:
    items = [line for number in range(300) for line in ran(f"fix[{number}]", 1, 1.1 + number, 1.9 + number)]
    shown = draw(
        page,
        (0, "task.submitted", {}),
        (0.2, "task.planned", {"steps": [{"step": "fix", "arm": "executor", "for_each": True}]}),
        *ran("fix[]", 0.2, 0.3, 0.9),
        (0.9, "step.spread", {"step": "fix", "count": 300, "reused": 0}),
        *items,
    )
    rows = shown.locator(".tl-row")
    count = rows.count()

    shown.get_by_role("button", name="items of fix").click()

    expect(shown.get_by_role("list", name=re.compile("30. rows of the timeline"))).to_be_visible()
    assert count < 5
    assert 10 < rows.count() < 120
    bars(page, "list of fix").or_(bars(page, "fix")).first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(bars(page, "fix[2]")).to_be_focused()
    shown.locator(".tl-rows").evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
    expect(bars(page, "fix[299]")).to_be_visible()


def test_a_cost_that_is_not_known_is_a_question_mark(page: Page) -> None:
    call = {
        "at": _BEGUN_AT.isoformat(),
        "settled_at": (_BEGUN_AT + timedelta(seconds=1)).isoformat(),
        "step": "a",
        "round": 1,
        "attempt": 1,
        "call": 1,
        "purpose": "p",
        "model": "m",
        "state": "settled",
        "reserved_tokens": 9,
        "reserved_dollars": None,
        "settled_tokens": 5,
        "settled_dollars": None,
    }
    shown = draw(page, *planned("a"), *ran("a", 0.2, 0.3, 1), calls=[call])

    expect(shown.get_by_text("? 1 of 1 calls have an unknown cost")).to_be_visible()
    shown.get_by_label("colour by cost").check()
    expect(shown.locator(".tl-rows .cost-unknown")).to_have_count(1)
    expect(shown.locator(".tl-row").filter(has_text="a").get_by_text("?", exact=True)).to_be_visible()


def test_names_from_tasks_are_text(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>"
    shown = draw(page, *planned(name), *ran(name, 0.2, 0.3, 1))

    expect(shown.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert shown.locator("img").count() == 0
