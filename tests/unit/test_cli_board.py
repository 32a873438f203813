"""A task's events become a board of its steps, and the board becomes lines and a table."""

import io
from datetime import UTC, datetime

from rich.console import Console

from orchestrator.cli.board import Board
from orchestrator.cli.line import line_of
from orchestrator.cli.screen import draw
from tests.unit.recorded import RUN, TASK_ID, events, step


def _board(until: int) -> Board:
    board = Board(TASK_ID)
    for event in RUN[:until]:
        board.apply(event)
    return board


def _drawn(board: Board, now: datetime) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(draw(board, now))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_planned_task_shows_all_its_steps_in_the_plans_order() -> None:
    board = _board(3)

    assert list(board.rows) == ["inventory", "lint", "tests", "report"]
    assert {row.state for row in board.rows.values()} == {"waiting"}
    assert board.percentage == 5


def test_an_event_that_is_known_changes_nothing() -> None:
    board = _board(len(RUN))

    assert not board.apply(RUN[4])
    assert board.rows["inventory"].state == "done"


def test_a_step_that_runs_counts_its_seconds_from_its_start() -> None:
    board = _board(5)

    assert board.rows["inventory"].runs_for(datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)) == 2.0
    assert board.rows["lint"].runs_for(datetime(2026, 11, 22, 12, 0, 7, tzinfo=UTC)) is None


def test_a_retried_step_tells_why_and_then_its_second_attempt() -> None:
    assert _board(10).rows["lint"].state == "retrying"
    assert _board(10).rows["lint"].note == "ruff ran longer than 5 s"

    assert _board(14).rows["lint"].attempt == 2
    assert _board(14).rows["lint"].state == "done"


def test_a_repair_starts_the_faulty_steps_again_and_keeps_the_others() -> None:
    board = _board(18)

    assert board.round == 2
    assert board.rows["tests"].state == "waiting"
    assert board.rows["tests"].note == "1 of 3"
    assert board.rows["inventory"].state == "done"


def test_the_percentage_never_falls_and_ends_at_100() -> None:
    board = Board(TASK_ID)
    shown = []
    for event in RUN:
        board.apply(event)
        shown.append(board.percentage)

    assert shown == sorted(shown)
    assert shown[-2] == 90
    assert shown[-1] == 100


def test_a_step_stopped_by_a_cancel_is_cancelled_not_failed() -> None:
    board = Board(TASK_ID)
    for event in events(
        ("step.started", step("lint", "executor", attempt=1)),
        ("step.failed", step("lint", "executor", attempt=1, error={"code": "cancelled", "message": "ended"})),
        ("task.cancelled", {"status": "cancelled", "error": None}),
    ):
        board.apply(event)

    assert board.rows["lint"].state == "cancelled"
    assert board.status == "cancelled"


def test_lines_tell_each_move_once() -> None:
    board = Board(TASK_ID)
    lines = []
    for event in RUN:
        board.apply(event)
        lines.append(" ".join(line_of(board, event).split()[1:]))

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
        "90% report retriever skipped: what it needs did not finish",
        "90% judge: failed",
        "90% repair, round 2: report, tests again",
        "90% tests executor started: 1 of 3",
        "90% tests executor done in 0.1 s",
        "100% failed",
    ]


def test_the_table_shows_step_arm_state_attempt_and_seconds() -> None:
    drawn = _drawn(_board(14), datetime(2026, 11, 22, 12, 0, 14, tzinfo=UTC))

    assert TASK_ID in drawn
    assert " 68%" in drawn
    lint = next(line for line in drawn.splitlines() if " lint " in line)
    assert lint.split() == ["✓", "lint", "executor", "done", "2", "0.3", "s"]


def test_a_long_note_never_squeezes_the_other_columns() -> None:
    board = _board(14)
    board.rows["lint"].note = "it says a lot " * 30

    drawn = _drawn(board, datetime(2026, 11, 22, 12, 0, 14, tzinfo=UTC))

    assert "inventory" in drawn
    assert "retriever" in drawn
    assert max(map(len, drawn.splitlines())) <= 120


def test_text_of_a_step_is_never_taken_for_markup() -> None:
    board = Board(TASK_ID)
    for event in events(("step.failed", step("lint", "executor", error={"message": "[red]boo[/red] [/]"}))):
        board.apply(event)

    assert "[red]boo[/red] [/]" in _drawn(board, datetime(2026, 11, 22, 12, 1, tzinfo=UTC))
