"""The graph of a task's round and of a plan: what it shows, by mouse, by keyboard and to a screen reader."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.client import Client
from tests.browser.conftest import NARROW, CheckAxe
from tests.browser.graph_kit import about, draw_plan, draw_task, events_of, step

_DIAMOND = [step("a"), step("b", "a"), step("c", "a", arm="judge"), step("d", "b", "c")]
_TOLD: list[tuple[str, dict[str, Any]]] = [
    ("step.started", about("a")),
    ("step.completed", about("a", duration_ms=900)),
    ("step.started", about("b")),
    ("step.failed", about("b", error={"code": "broken", "message": "It broke."})),
    ("step.started", about("c[]")),
    ("step.completed", about("c[]")),
    ("step.spread", {"step": "c", "round": 1, "count": 30, "reused": 2}),
    ("step.started", about("c[4]")),
]


@pytest.fixture
def shown(page: Page) -> Page:
    """A page of the console in which graphs can be drawn."""
    page.goto("/sign-in")
    expect(page.locator("main h1").first).to_be_visible()
    return page


def test_the_graph_of_a_task_turns_while_it_runs(page: Page, client: Client, axe: CheckAxe) -> None:
    approval = {"ask": "Go on?", "by": "tests", "expires_in": 600}
    steps = [
        {"id": "first", "arm": "retriever", "action": "collect", "inputs": {"values": [1, 2, 3]}},
        {
            "id": "each",
            "arm": "retriever",
            "action": "collect",
            "for_each": {"$from": "first", "pointer": "/values"},
            "inputs": {"values": {"$item": ""}},
        },
        {
            "id": "last",
            "arm": "retriever",
            "action": "collect",
            "inputs": {"values": {"$from": "each", "pointer": "/count"}},
            "approval": approval,
        },
    ]
    task = client.submit(plan={"steps": steps})
    page.goto(f"/tasks/{task}")

    expect(
        page.get_by_role("button", name="each, arm retriever, done, 3 of 3 items done, after first")
    ).to_be_visible()
    waiting = page.get_by_role("button", name="last, arm retriever, waiting, after each")
    expect(waiting).to_be_visible()
    expect(page.locator(".graph-arrows path")).to_have_count(2)
    expect(page.locator(".graph-arrows path.order")).to_have_count(0)
    axe(page)

    (asked,) = client.call("GET", f"/v1/tasks/{task}").body["approvals"]
    path = f"/v1/approvals/{asked['approval_id']}"
    proposal = client.call("GET", path).body["proposal_hash"]
    decided = client.call("POST", f"{path}/decision", {"decision": "approve", "proposal_hash": proposal})
    assert decided.status == 200, decided

    expect(page.get_by_role("button", name="last, arm retriever, done, after each")).to_be_visible()
    expect(page.locator(".graph-node.critical")).not_to_have_count(0)
    page.get_by_role("button", name="last, arm retriever, done").click()
    expect(page).to_have_url(re.compile("step=last"))


def test_a_box_turns_with_the_events_and_no_layout_is_made_again(shown: Page) -> None:
    shown.evaluate("""() => {
        window.layouts = 0;
        const post = Worker.prototype.postMessage;
        Worker.prototype.postMessage = function (...all) { window.layouts += 1; return post.apply(this, all); };
    }""")
    graph = draw_task(shown, events_of(_DIAMOND, *_TOLD), n=2)
    expect(graph.get_by_role("button", name="a, arm coder, held")).to_be_visible()
    before = graph.locator(".graph-node").evaluate_all("nodes => nodes.map(n => n.getAttribute('transform'))")

    shown.evaluate("window.show({n: 3})")
    expect(graph.get_by_role("button", name="a, arm coder, running")).to_be_visible()
    shown.evaluate("window.show({n: 6})")
    expect(graph.get_by_role("button", name="b, arm coder, failed, after a")).to_be_visible()
    shown.evaluate("window.show({n: 100})")
    expect(graph.get_by_role("button", name=re.compile("c, .*2 of 30 items done, after a"))).to_be_visible()
    shown.evaluate("window.show({n: 3})")
    expect(graph.get_by_role("button", name="a, arm coder, running")).to_be_visible()

    after = graph.locator(".graph-node").evaluate_all("nodes => nodes.map(n => n.getAttribute('transform'))")
    assert (after, shown.evaluate("window.layouts")) == (before, 1)


def test_arrow_keys_walk_along_the_arrows_and_enter_selects(shown: Page) -> None:
    graph = draw_task(shown, events_of(_DIAMOND))
    nodes = graph.locator(".graph-node")
    expect(nodes).to_have_count(4)
    assert graph.locator(".graph-node[tabindex='0']").count() == 1

    nodes.first.focus()
    for key, name in (
        ("ArrowRight", "b"),
        ("ArrowUp", "c"),
        ("ArrowRight", "d"),
        ("ArrowRight", "d"),
        ("Home", "a"),
        ("End", "d"),
        ("ArrowLeft", "b"),
    ):
        shown.keyboard.press(key)
        expect(shown.locator(":focus")).to_have_attribute("aria-label", re.compile(f"^{name},"))
    shown.keyboard.press("Enter")

    assert shown.evaluate("window.chosen") == ["b"]
    assert graph.locator(".graph-node[tabindex='0']").get_attribute("aria-label").startswith("b,")
    shown.evaluate("window.show({selected: 'b'})")
    expect(graph.get_by_role("button", pressed=True, name="b, arm coder")).to_be_visible()


def test_the_items_of_a_step_are_shown_on_request_and_the_address_keeps_it(shown: Page) -> None:
    graph = draw_task(shown, events_of(_DIAMOND, *_TOLD))
    box = graph.get_by_role("button", name=re.compile("^c,"))

    box.focus()
    shown.keyboard.press(" ")
    expect(graph.locator(".graph-cell")).to_have_count(30)
    expect(box).to_have_attribute("aria-expanded", "true")
    assert "open=c" in shown.url
    graph.locator("[data-item='c[4]']").click()
    assert shown.evaluate("window.chosen") == ["c[4]"]

    box.locator(".items").click()
    expect(graph.locator(".graph-cell")).to_have_count(0)
    assert "open=" not in shown.url


def test_301_steps_are_groups_with_counts_and_a_click_lists_a_group(shown: Page, axe: CheckAxe) -> None:
    steps = [step("first"), *(step(f"s{number}", "first", arm=f"arm{number % 2}") for number in range(300))]
    done = [
        ("step.started", about("first")),
        ("step.completed", about("first")),
        ("step.started", about("s4", arm="arm0")),
    ]
    graph = draw_task(shown, events_of(steps, *done))
    expect(graph.locator(".graph-node")).to_have_count(3)

    group = graph.get_by_role("button", name="150 steps of arm0 at depth 1, 1 running, 149 held")
    group.click()

    rows = graph.get_by_role("table", name="150 steps of the group").get_by_role("row")
    expect(rows).to_have_count(101)
    expect(group).to_have_attribute("aria-expanded", "true")
    axe(shown)
    graph.get_by_role("button", name="Show more of 150 steps").click()
    expect(rows).to_have_count(151)
    graph.get_by_role("button", name="s298", exact=True).click()
    assert shown.evaluate("window.chosen") == ["s298"]
    expect(draw_task(shown, events_of(steps[:300])).locator(".graph-node")).to_have_count(300)


def test_the_list_says_the_same_in_words(shown: Page, axe: CheckAxe) -> None:
    plan = [{"id": "a"}, {"id": "b", "inputs": {"x": {"$from": "a", "pointer": "/n"}}}]
    graph = draw_task(shown, events_of(_DIAMOND, *_TOLD), planSteps=plan)

    graph.get_by_role("button", name="List of steps").click()

    row = graph.get_by_role("row").filter(has=shown.get_by_role("button", name="b", exact=True))
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("a: /n")
    assert shown.url.endswith("list=1")
    assert graph.locator(".graph-arrows path.order").count() == 3
    axe(shown)


def test_a_round_that_kept_a_step_shows_it_as_kept(shown: Page) -> None:
    verdict = ("judge.verdict", {"round": 1, "verdict": "rejected", "criteria": []})
    repair = (
        "task.repair",
        {"round": 2, "reruns": ["b", "d"], "kept": ["a", "c"], "feedback": {"b": "Again."}},
    )
    ends = [(kind, about(name)) for name in "abcd" for kind in ("step.started", "step.completed")]
    graph = draw_task(shown, events_of(_DIAMOND, *ends, verdict, repair))

    expect(graph.locator(".graph-node.reused")).to_have_count(2)
    expect(graph.get_by_role("button", name="a, arm coder, done, from round 1")).to_be_visible()
    shown.evaluate("window.show({round: 1})")
    expect(graph.locator(".graph-node.reused")).to_have_count(0)


def test_the_picture_is_zoomed_by_wheel_keys_and_buttons_and_fits(shown: Page) -> None:
    chain = [step("s0"), *(step(f"s{number}", f"s{number - 1}") for number in range(1, 20))]
    graph = draw_task(shown, events_of(chain))
    picture = graph.locator(".graph-frame svg")

    def width() -> float:
        return float(picture.get_attribute("width"))

    whole = width()
    assert picture.evaluate("svg => svg.parentElement.scrollWidth > svg.parentElement.clientWidth")
    graph.get_by_role("button", name="Fit").click()
    expect(picture).not_to_have_attribute("width", f"{whole:g}")
    assert not picture.evaluate("svg => svg.parentElement.scrollWidth > svg.parentElement.clientWidth + 1")
    graph.get_by_role("button", name="100 %").click()
    hundred = width()
    picture.hover()
    shown.keyboard.down("Control")
    shown.mouse.wheel(0, -100)
    shown.keyboard.up("Control")
    expect(picture).not_to_have_attribute("width", f"{hundred:g}")
    assert width() > hundred
    graph.locator(".graph-node").first.focus()
    shown.keyboard.press("0")
    shown.keyboard.press("+")
    expect(picture).not_to_have_attribute("width", f"{whole:g}")
    shown.keyboard.press("Shift+ArrowRight")
    assert shown.evaluate("devicePixelRatio") == 1


def test_names_and_faults_of_a_hostile_plan_are_only_text(shown: Page, axe: CheckAxe) -> None:
    bad = '"><img src=x onerror=alert(1)>${7*7}{{x}}'
    steps = [
        {"id": bad, "arm": bad, "action": "x"},
        {"id": "__proto__", "arm": "coder", "depends_on": [bad, "constructor", "__proto__"]},
        {"id": "circle", "arm": "coder", "depends_on": ["__proto__"], "inputs": {"a": {"$from": "circle"}}},
        None,
        "text",
        {"id": 3},
    ]
    graph = draw_plan(
        shown, steps, faults=[{"path": "steps.1.depends_on", "message": f"there is no step {bad}"}]
    )

    expect(graph.locator(".graph-node")).to_have_count(3)
    assert graph.locator("img").count() == 0
    expect(graph.get_by_role("button", name=re.compile("__proto__, coder, 1 fault, after"))).to_be_visible()
    axe(shown)


def test_a_browser_without_workers_lays_out_in_the_page(page: Page) -> None:
    page.add_init_script("delete window.Worker;")
    page.goto("/sign-in")
    expect(page.locator("main h1").first).to_be_visible()

    expect(draw_task(page, events_of(_DIAMOND)).locator(".graph-node")).to_have_count(4)


def test_a_graph_is_usable_on_a_narrow_screen(shown: Page, axe: CheckAxe) -> None:
    shown.set_viewport_size(NARROW)
    graph = draw_task(shown, events_of(_DIAMOND, *_TOLD))
    expect(graph.locator(".graph-node")).to_have_count(4)

    assert shown.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    graph.locator(".graph-node").first.focus()
    shown.keyboard.press("End")
    expect(shown.locator(":focus")).to_be_in_viewport()
    axe(shown)
