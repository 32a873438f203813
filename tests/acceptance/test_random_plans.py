"""Random graphs through real workers: every step exactly once, never before its dependencies, the judge once."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref, wait


@st.composite
def plans(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw up to 50 steps, each depending on some earlier ones; values flow along the edges."""
    count = draw(st.integers(1, 50))
    steps: list[dict[str, Any]] = []
    for number in range(count):
        earlier = [f"s{before}" for before in range(number)]
        after = draw(st.lists(st.sampled_from(earlier), max_size=4, unique=True)) if earlier else []
        values = [
            number,
            *(ref(name, "/values/0") for name in after if steps[int(name[1:])]["action"] == "collect"),
        ]
        quick = draw(st.integers(0, 9)) > 0
        steps.append(collect(f"s{number}", values, *after) if quick else wait(f"s{number}", 0.01, *after))
    return steps


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=plans())
def test_every_step_runs_exactly_once_after_its_dependencies_and_the_judge_once(
    client: Client, steps: list[dict[str, Any]]
) -> None:
    task = client.run(plan={"steps": steps}, timeout=100)

    events = client.events(task["task_id"])
    order = [(event["type"], event["data"]["step"]) for event in events if "step" in event["data"]]
    completed = Counter(name for kind, name in order if kind == "step.completed")
    assert task["status"] == "completed"
    assert completed == Counter(step["id"] for step in steps)
    for step in steps:
        started = order.index(("step.started", step["id"]))
        assert all(order.index(("step.completed", name)) < started for name in step["depends_on"])
    assert [event["type"] for event in events].count("judge.verdict") == 1
    _assert_values_flowed(task, steps)


def _assert_values_flowed(task: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    """The leaves' outputs are their own number, then the first values of their dependencies."""
    by_id = {step["id"]: step for step in steps}
    for name, output in task["result"]["data"].items():
        if by_id[name]["action"] == "collect":
            expected = [
                int(value["$from"][1:]) if isinstance(value, dict) else value
                for value in by_id[name]["inputs"]["values"]
            ]
            assert output["values"] == expected
