"""The progress of a task is computed from its events, and shown as lines or as a table."""

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from orchestrator.cli.live_table import draw
from orchestrator.cli.progress import TaskProgress
from orchestrator.cli.watch import line_of
from tests.unit.recorded import RUN, TASK_ID, events, step


def _progress(until: int) -> TaskProgress:
    progress = TaskProgress(TASK_ID)
    for event in RUN[:until]:
        progress.apply(event)
    return progress


def _drawn(progress: TaskProgress, now: datetime) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(draw(progress, now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_planned_task_shows_all_its_steps_in_the_plans_order() -> None:
    progress = _progress(3)

    assert list(progress.steps) == ["inventory", "lint", "tests", "report"]
    assert {item.state for item in progress.steps.values()} == {"waiting"}
    assert progress.percentage == 5


def test_an_event_applied_before_changes_nothing() -> None:
    progress = _progress(len(RUN))

    assert not progress.apply(RUN[4])
    assert progress.steps["inventory"].state == "done"


def test_the_seconds_of_a_running_step_count_from_its_start() -> None:
    progress = _progress(5)

    assert progress.steps["inventory"].seconds_at(datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)) == 2.0
    assert progress.steps["lint"].seconds_at(datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)) is None


def test_a_retried_step_shows_the_reason_and_then_its_second_attempt() -> None:
    assert _progress(10).steps["lint"].state == "retrying"
    assert _progress(10).steps["lint"].note == "ruff ran longer than 5 s"

    assert _progress(14).steps["lint"].attempt == 2
    assert _progress(14).steps["lint"].state == "done"


def test_another_plan_keeps_the_steps_that_it_keeps_and_shows_no_others() -> None:
    progress = _progress(18)
    before: list[tuple[str, dict[str, Any]]] = [("task.submitted", {})] * 18
    graph = [{"step": "inventory", "arm": "retriever"}, {"step": "count", "arm": "executor"}]
    *_, replan, planned = events(
        *before,
        ("task.replan", {"round": 1, "reason": "no step is at fault", "feedback": {}}),
        ("task.planned", {"round": 2, "mode": "llm", "steps": graph, "kept": ["inventory"]}),
    )

    progress.apply(replan)
    assert progress.activity == "planning again"
    assert "another plan is made: no step is at fault" in line_of(progress, replan)
    progress.apply(planned)

    assert {name: one.state for name, one in progress.steps.items()} == {
        "inventory": "done",
        "count": "waiting",
    }
    assert "planned, steps: 2, 1 kept (mode llm)" in line_of(progress, planned)


def test_a_repair_resets_the_rerun_steps_and_keeps_the_others() -> None:
    progress = _progress(18)

    assert progress.round == 2
    assert progress.steps["tests"].state == "waiting"
    assert progress.steps["tests"].note == "1 of 3"
    assert progress.steps["inventory"].state == "done"


def test_the_percentage_never_decreases_and_ends_at_100() -> None:
    progress = TaskProgress(TASK_ID)
    shown = []
    for event in RUN:
        progress.apply(event)
        shown.append(progress.percentage)

    assert shown == sorted(shown)
    assert shown[-2] == 90
    assert shown[-1] == 100


def test_a_step_s_progress_is_shown_until_it_ends() -> None:
    progress = TaskProgress(TASK_ID)
    lines = []
    for event in events(
        ("step.started", step("fetch", "weather", attempt=1)),
        ("step.progress", step("fetch", "weather", attempt=1, percent=40.0, message="half of it")),
        ("step.progress", step("fetch", "weather", attempt=1, percent=None, message="more")),
        ("step.completed", step("fetch", "weather", attempt=1, duration_ms=1000)),
    ):
        progress.apply(event)
        lines.append(line_of(progress, event).partition("%  ")[2].split(maxsplit=2)[2])

    assert lines == ["started", "progress: 40 %, half of it", "progress: more", "done in 1.0 s"]


def test_a_step_stopped_by_a_cancel_is_cancelled_not_failed() -> None:
    progress = TaskProgress(TASK_ID)
    for event in events(
        ("step.started", step("lint", "executor", attempt=1)),
        ("step.failed", step("lint", "executor", attempt=1, error={"code": "cancelled", "message": "ended"})),
        ("task.cancelled", {"status": "cancelled", "error": None}),
    ):
        progress.apply(event)

    assert progress.steps["lint"].state == "cancelled"
    assert progress.status == "cancelled"


def test_each_change_is_printed_once() -> None:
    progress = TaskProgress(TASK_ID)
    lines = []
    for event in RUN:
        progress.apply(event)
        lines.append(" ".join(line_of(progress, event).split()[1:]))

    assert [line for line in lines if line] == [
        f"0% {TASK_ID} accepted",
        "5% planned, steps: 4 (mode rules)",
        "5% inventory retriever started",
        "26% inventory retriever done in 1.5 s: 2 links left out",
        "26% lint executor started",
        "26% lint executor retrying: ruff ran longer than 5 s",
        "26% tests executor started",
        "47% tests executor failed in 0.2 s: pytest found no tests",
        "47% lint executor started (attempt 2): ruff ran longer than 5 s",
        "68% lint executor done in 0.3 s",
        "90% report retriever skipped: a step it depends on did not finish",
        "90% judge: failed",
        "90% repair, round 2: report, tests again",
        "90% tests executor started: 1 of 3",
        "90% tests executor done in 0.1 s",
        "100% failed",
    ]


def test_the_table_shows_step_arm_state_attempt_and_seconds() -> None:
    drawn = _drawn(_progress(14), datetime(2026, 11, 22, 12, 0, 14, tzinfo=UTC))

    assert TASK_ID in drawn
    assert " 68%" in drawn
    lint = next(line for line in drawn.splitlines() if " lint " in line)
    assert lint.split() == ["✓", "lint", "executor", "done", "2", "0.3", "s"]


def test_a_long_note_never_narrows_the_other_columns() -> None:
    progress = _progress(14)
    progress.steps["lint"].note = "it says a lot " * 30

    drawn = _drawn(progress, datetime(2026, 11, 22, 12, 0, 14, tzinfo=UTC))

    assert "inventory" in drawn
    assert "retriever" in drawn
    assert max(map(len, drawn.splitlines())) <= 120


def test_text_of_a_step_is_never_parsed_as_markup() -> None:
    progress = TaskProgress(TASK_ID)
    for event in events(("step.failed", step("lint", "executor", error={"message": "[red]boo[/red] [/]"}))):
        progress.apply(event)

    assert "[red]boo[/red] [/]" in _drawn(progress, datetime(2026, 11, 22, 12, 1, tzinfo=UTC))


def test_steps_that_began_early_keep_their_state_when_the_plan_has_them() -> None:
    progress = TaskProgress(TASK_ID)
    graph: list[dict[str, Any]] = [
        {"step": name, "arm": "executor", "depends_on": []} for name in ("a", "b", "c")
    ]
    before = events(
        ("step.queued", step("a", "executor", round=0)),
        ("step.completed", step("a", "executor", round=0, attempt=1, duration_ms=20)),
        ("step.queued", step("c", "executor", round=0)),
        ("step.queued", step("gone", "executor", round=0)),
    )
    early = {"a": "done", "c": "dropped", "gone": "dropped"}
    (planned,) = events(("task.planned", {"mode": "llm", "steps": graph, "early": early}))

    for event in before:
        progress.apply(event)
    percentage = progress.percentage
    progress.apply({**planned, "seq": 5})

    assert {name: one.state for name, one in progress.steps.items()} == {
        "a": "done",
        "b": "waiting",
        "c": "waiting",
    }
    assert (percentage, progress.percentage) == (0, 5 + 85 // 3)


LOOP = events(
    ("task.planned", {"steps": [{"step": "work", "arm": "coder"}]}),
    ("step.started", step("work[]", "judge", attempt=1)),
    ("step.completed", step("work[]", "judge", attempt=1, duration_ms=5)),
    ("step.spread", {"step": "work", "round": 1, "count": 3, "reused": 1}),
    ("step.queued", step("work[0]", "coder")),
    ("step.started", step("work[0]", "coder", attempt=1)),
    ("step.completed", step("work[0]", "coder", attempt=1, duration_ms=5)),
    ("step.failed", step("work[2]", "coder", attempt=1, error={"code": "tool_failed", "message": "no"})),
    ("step.started", step("work", "judge", attempt=1)),
    ("step.completed", step("work", "judge", attempt=1, duration_ms=5)),
)


def _after(until: int) -> TaskProgress:
    progress = TaskProgress(TASK_ID)
    for event in LOOP[:until]:
        progress.apply(event)
    return progress


def test_all_items_of_a_step_share_its_line() -> None:
    progress = _after(8)

    assert list(progress.steps) == ["work"]
    assert (progress.steps["work"].state, progress.steps["work"].note) == (
        "running",
        "3 of 3 items, 1 failed",
    )
    assert "3 of 3 items, 1 failed" in _drawn(progress, datetime(2026, 11, 22, 12, 0, 20, tzinfo=UTC))


def test_a_step_with_items_lasts_from_its_spread_to_its_gather() -> None:
    work = _after(10).steps["work"]

    assert (work.state, work.arm, work.seconds) == ("done", "coder", 8.0)


def test_of_the_items_only_failures_get_a_line() -> None:
    lines = [line_of(_after(until), LOOP[until - 1]) for until in range(1, 11)]

    told = [line[15:] for line in lines if line]
    assert told[1:] == [
        "work                     3 items",
        "work[2]                  failed: no",
        "work                     coder            done in 8.0 s: 3 of 3 items, 1 failed",
    ]
