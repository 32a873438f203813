"""Draws the console's graphs in a page by themselves, from events or from a plan that a test makes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Locator, Page

_BEGUN_AT = datetime(2026, 11, 29, 10, tzinfo=UTC)
_DRAW = """async ([kind, props, events]) => {
  const { TaskGraph, PlanGraph } = await import('/console/task/graph.js');
  const { reduceAll } = await import('/console/task/reduce.js');
  const { html, render } = await import('/console/vendor.js');
  let place = document.getElementById('drawn');
  if (!place) {
    place = document.createElement('div');
    place.id = 'drawn';
    document.querySelector('main').append(place);
    window.chosen = [];
  }
  const onSelect = (name) => window.chosen.push(name);
  window.show = (more) => {
    const all = {...props, ...more};
    const Graph = kind === 'task' ? TaskGraph : PlanGraph;
    const state = kind === 'task' ? { state: reduceAll(events, { to: all.n }) } : {};
    render(html`<${Graph} ...${{...all, ...state}} onSelect=${onSelect} />`, place);
  };
  window.show({});
}"""


def draw_task(page: Page, events: Sequence[dict[str, Any]], **props: Any) -> Locator:
    """Draw a task after its events, as if it were at its last event; return the graph. `n` limits the events."""
    page.evaluate(_DRAW, ["task", {"isLive": False, **props}, list(events)])
    return page.locator("#drawn")


def draw_plan(page: Page, steps: Sequence[Any], **props: Any) -> Locator:
    """Draw a plan that does not run; return the graph."""
    page.evaluate(_DRAW, ["plan", {"steps": list(steps), **props}, []])
    return page.locator("#drawn")


def events_of(steps: Sequence[dict[str, Any]], *told: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of a task with a plan of `steps` ({step, arm, depends_on}), one a second."""
    planned = ("task.planned", {"mode": "client", "round": 1, "plan_id": "plan_1", "steps": list(steps)})
    return [
        {
            "seq": number,
            "timestamp": (_BEGUN_AT + timedelta(seconds=number)).isoformat(),
            "type": kind,
            "data": data,
        }
        for number, (kind, data) in enumerate([("task.submitted", {}), planned, *told], start=1)
    ]


def step(name: str, *after: str, arm: str = "coder") -> dict[str, Any]:
    """Return a step of a plan as task.planned tells it."""
    return {"step": name, "arm": arm, "depends_on": list(after)}


def about(name: str, **more: Any) -> dict[str, Any]:
    """Return the data of an event about a step."""
    return {"step": name, "step_id": f"id-{name}", "round": 1, "arm": "coder", "attempt": 1, **more}
