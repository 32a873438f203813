"""Events of a task as GET /v1/tasks/{id}/events answers them: a repair, a retry, a skip, and the end."""

from typing import Any

TASK_ID = "task_0PxK3mQa7Zb81CdE"


def events(*facts: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return facts as numbered events, a second apart."""
    return [
        {"seq": seq, "timestamp": f"2026-11-22T12:00:{seq:02d}.000Z", "type": kind, "data": fact}
        for seq, (kind, fact) in enumerate(facts, start=1)
    ]


def step(name: str, arm: str, **fact: Any) -> dict[str, Any]:
    """Return what events of a step hold."""
    return {"step": name, "step_id": f"id-of-{name}", "round": 1, "arm": arm, **fact}


VERDICT: dict[str, Any] = {
    "round": 1,
    "decision": "failed",
    "coverage": 0.5,
    "confidence": 0.0,
    "faulty": ["tests"],
    "findings": [
        {
            "criterion": "No test fails",
            "met": False,
            "checked_by": "rule",
            "step": "tests",
            "explanation": "1 of 3",
        },
        {
            "criterion": "It reads well",
            "met": None,
            "checked_by": "not_checked",
            "step": None,
            "explanation": "",
        },
        {"criterion": "No secret", "met": True, "checked_by": "rule", "step": None, "explanation": "0 found"},
    ],
}
GRAPH = [
    {"step": "inventory", "arm": "retriever", "depends_on": []},
    {"step": "lint", "arm": "executor", "depends_on": ["inventory"]},
    {"step": "tests", "arm": "executor", "depends_on": ["inventory"]},
    {"step": "report", "arm": "retriever", "depends_on": ["tests"]},
]
TOO_SLOW = {"code": "tool_timeout", "message": "ruff ran longer than 5 s", "retryable": True}
NO_TESTS = {"code": "tool_failed", "message": "pytest found no tests", "retryable": False}
REJECTED = {"code": "validation_failed", "message": "The judge rejected the result."}

RUN = events(
    ("task.submitted", {"priority": "medium"}),
    ("step.started", step("$plan", "planner", attempt=1)),
    ("task.planned", {"plan_id": "plan_1", "round": 1, "mode": "rules", "steps": GRAPH}),
    ("step.queued", step("inventory", "retriever")),
    ("step.started", step("inventory", "retriever", attempt=1)),
    (
        "step.completed",
        step("inventory", "retriever", attempt=1, duration_ms=1500, warnings=["2 links left out"]),
    ),
    ("step.queued", step("lint", "executor")),
    ("step.queued", step("tests", "executor")),
    ("step.started", step("lint", "executor", attempt=1)),
    ("step.retrying", step("lint", "executor", attempt=1, failures=1, delay_seconds=0.5, error=TOO_SLOW)),
    ("step.started", step("tests", "executor", attempt=1)),
    ("step.failed", step("tests", "executor", attempt=1, duration_ms=200, error=NO_TESTS)),
    ("step.started", step("lint", "executor", attempt=2)),
    ("step.completed", step("lint", "executor", attempt=2, duration_ms=300, warnings=[])),
    ("step.started", step("$judge", "judge", attempt=1)),
    ("step.skipped", {"step": "report", "round": 1}),
    ("judge.verdict", VERDICT),
    (
        "task.repair",
        {"round": 2, "reruns": ["report", "tests"], "kept": ["inventory"], "feedback": {"tests": "1 of 3"}},
    ),
    ("step.started", step("tests", "executor", attempt=1, round=2)),
    ("step.completed", step("tests", "executor", attempt=1, round=2, duration_ms=100, warnings=[])),
    ("task.failed", {"status": "failed", "error": REJECTED, "stopped": []}),
)
