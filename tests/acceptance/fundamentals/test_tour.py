"""The tour: what the product promises, one rule a test; each docstring is the rule."""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from tests.acceptance.client import Client
from tests.acceptance.plans import collect, ref, verify, wait

TYPE_BOMB = {"__type__": "uuid", "__value__": "zzz"}


def test_a_goal_goes_in_and_a_judged_result_comes_out(client: Client) -> None:
    """A submitted plan is carried out, joined and judged; the answer says what was found and that it was checked."""
    task = client.run(
        "Collect two numbers",
        plan={
            "steps": [
                collect("one", 1),
                collect("two", 2),
                collect("both", [ref("one", "/values"), ref("two", "/values")]),
            ]
        },
        acceptance_criteria=[
            {"text": "both are there", "check": {"step": "both", "pointer": "/values", "equals": [1, 2]}}
        ],
    )

    assert (task["error"], task["status"], task["phase"]) == (None, "completed", "done")
    assert (task["result"]["validation_passed"], task["result"]["partial"]) == (True, False)
    assert task["result"]["data"]["both"]["values"] == [1, 2]
    assert (task["progress"]["percentage"], task["progress"]["completed_steps"]) == (100, 3)
    assert task["metadata"]["arms_used"] == ["planner", "retriever", "judge"]


def test_progress_is_told_in_numbered_events_without_a_gap(client: Client) -> None:
    """Every fact of a task's life is an event; numbers start at 1, none is left out, the last one is the end."""
    task = client.run(plan={"steps": [collect("a", 1), collect("b", 2, "a")]})

    events = client.events(task["task_id"])

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "task.submitted"
    assert events[-1]["type"] == "task.completed"
    assert [event["data"]["step"] for event in events if event["type"] == "step.completed"] == ["a", "b"]


def test_the_trace_explains_the_answer(client: Client) -> None:
    """Plan, routing with scores, every attempt with its worker and provenance, and the verdict are kept."""
    task = client.run(plan={"steps": [collect("a", 1)]})

    decisions = {decision["kind"]: decision["data"] for decision in client.trace(task["task_id"])}

    assert decisions["plan"]["mode"] == "client"
    assert decisions["route"]["a"]["arm"] == "retriever"
    assert decisions["route"]["a"]["score"] > 0
    assert decisions["attempt"]["outcome"] == "done"
    assert decisions["attempt"]["provenance"]["arm"] == "retriever"
    assert decisions["verdict"]["decision"] == "passed"
    assert decisions["end"]["status"] == "completed"


def test_a_diamond_runs_in_dependency_order(client: Client) -> None:
    """A step starts after all its dependencies have ended, and its siblings do not wait for each other."""
    task = client.run(
        plan={
            "steps": [
                wait("top"),
                wait("left", 0.2, "top"),
                wait("right", 0.2, "top"),
                wait("bottom", 0, "left", "right"),
            ]
        }
    )

    at = _times(client.events(task["task_id"]))

    assert task["status"] == "completed"
    assert at["step.completed", "top"] < min(at["step.started", "left"], at["step.started", "right"])
    assert max(at["step.started", "left"], at["step.started", "right"]) < min(
        at["step.completed", "left"], at["step.completed", "right"]
    )
    assert at["step.started", "bottom"] > max(at["step.completed", "left"], at["step.completed", "right"])


def test_a_chain_does_not_wait_for_the_stragglers_of_other_chains(client: Client) -> None:
    """Dataflow, no level barriers: a step of the second level ends before the straggler of the first."""
    slow, quick = 3, 0.03
    chains = [
        [wait(f"{name}{level}", slow if level == number else quick, *([f"{name}{level - 1}"] if level > 1 else []))
         for level in (1, 2, 3)]
        for number, name in enumerate("abc", start=1)
    ]  # fmt: skip
    task = client.run(plan={"steps": [step for chain in chains for step in chain]})

    at = _times(client.events(task["task_id"]))

    assert task["status"] == "completed"
    assert min(at["step.completed", "b2"], at["step.completed", "c2"]) < at["step.completed", "a1"]


def test_the_judge_runs_once_fired_by_the_chord(client: Client, database: Engine) -> None:
    """A round is one chord: its parts are the steps, and its open -> ready is what fires the judge."""
    task = client.run(plan={"steps": [collect(f"s{number}", number) for number in range(8)]})

    with database.connect() as conn:
        chord = conn.exec_driver_sql(
            """SELECT c.state, c.done, c.size + c.added AS members, c.ready_at, s.attempt, s.sends, s.started_at
               FROM chords c JOIN rounds r ON r.chord_id = c.id
               JOIN steps s ON s.task_id = r.task_id AND s.kind = 'judge' WHERE r.task_id = %(id)s""",
            {"id": task["task_id"]},
        ).one()
    events = client.events(task["task_id"])
    # a quick judge ends the task, and with it closes the chord, before its own firing is noted
    assert chord.state in ("fired", "closed")
    assert (chord.done, chord.members, chord.attempt) == (8, 8, 1)
    assert chord.ready_at <= chord.started_at
    assert chord.sends == 1  # the sweeper had no part in it
    assert [event["type"] for event in events].count("judge.verdict") == 1


def test_a_failing_step_skips_its_dependents_and_the_judge_says_so(client: Client) -> None:
    """A failed step is data: what needs it is skipped, the rest goes on, and the judge rejects with the reason."""
    task = client.run(
        plan={"steps": [verify("gate", 1, {"equals": 2}), collect("behind", 1, "gate"), collect("beside", 2)]}
    )

    states = {step["step_id"]: step["status"] for step in task["steps"]}
    assert states == {"gate": "failed", "behind": "skipped", "beside": "done"}
    assert (task["status"], task["error"]["code"]) == ("failed", "validation_failed")
    assert "gate" in task["error"]["details"]
    assert task["result"]["validation_passed"] is False


def test_a_repair_runs_only_what_was_at_fault(client: Client, database: Engine) -> None:
    """The judge blames a step whose check failed; it and what follows run again, nothing else."""
    plan = [
        collect("kept", "k"),
        collect("draft", 1, repair_inputs={"values": 2},
                acceptance_criteria=[{"text": "the draft is two", "check": {"pointer": "/values", "equals": 2}}]),
        collect("report", [ref("kept", "/values"), ref("draft", "/values")]),
    ]  # fmt: skip
    task = client.run(plan={"steps": plan})

    rows = _rows(database, task["task_id"])
    kinds = [event["type"] for event in client.events(task["task_id"])]
    assert (task["status"], task["metadata"]["repairs"]) == ("completed", 1)
    assert task["result"]["data"]["report"]["values"] == ["k", 2]
    assert sorted(rows) == [("draft", 1), ("draft", 2), ("kept", 1), ("report", 1), ("report", 2)]
    assert rows["kept", 1].attempt == 1
    assert rows["kept", 1].finished_at < rows["draft", 2].started_at
    assert (kinds.count("judge.verdict"), kinds.count("task.repair")) == (2, 1)


def test_what_nobody_checked_is_not_passed(client: Client) -> None:
    """A criterion in words alone, without a model to read it, is reported as not checked and validates nothing."""
    task = client.run(plan={"steps": [collect("a", 1)]}, acceptance_criteria=["the answer is elegant"])

    assert (task["status"], task["result"]["validation_passed"]) == ("completed", False)
    assert any("not checked" in warning for warning in task["result"]["warnings"])


def test_a_users_type_marker_comes_through_intact(client: Client) -> None:
    """No user text travels in a message, so no codec of Celery or kombu can decode it."""
    task_id = client.submit(
        '{"__type__": "uuid", "__value__": "zzz"}',
        context=TYPE_BOMB,
        plan={"steps": [collect("a", TYPE_BOMB)]},
    )

    task = client.end_of(task_id)
    trace = client.call("GET", f"/v1/tasks/{task_id}/trace").body

    assert task["status"] == "completed"
    assert task["goal"] == '{"__type__": "uuid", "__value__": "zzz"}'
    assert task["result"]["data"]["a"]["values"] == TYPE_BOMB
    assert trace["contract"]["context"] == TYPE_BOMB


def test_cancel_stops_what_runs(client: Client) -> None:
    """A cancelled task ends at once; its running step is told, its result would be refused, its queue goes on."""
    task_id = client.submit(plan={"steps": [wait("long", 60), collect("after", 1, "long")]})
    answer = client.call("DELETE", f"/v1/tasks/{task_id}")

    task = client.end_of(task_id)

    assert answer.status == 200
    assert (task["status"], answer.body["status"]) == ("cancelled", "cancelled")
    assert client.run(plan={"steps": [wait("next")]})["status"] == "completed"


def test_a_goal_that_no_recipe_fits_says_what_to_do(client: Client) -> None:
    """Without a model nothing is made up: the task is refused as unplannable, with the ways that there are."""
    answer = client.call("POST", "/v1/tasks", {"goal": "Write me a sonnet about autumn"})

    assert (answer.status, answer.body["code"]) == (422, "unplannable")
    assert "OPENAI_API_KEY" in answer.body["message"]


def _times(events: list[dict[str, Any]]) -> dict[tuple[str, str], datetime]:
    """Return {(event type, step): time}; of several, the last."""
    return {
        (event["type"], event["data"]["step"]): datetime.fromisoformat(event["timestamp"])
        for event in events
        if "step" in event["data"]
    }


def _rows(database: Engine, task_id: str) -> dict[tuple[str, int], Any]:
    with database.connect() as conn:
        rows = conn.exec_driver_sql(
            "SELECT name, round, attempt, started_at, finished_at FROM steps WHERE task_id = %(id)s AND kind = 'step'",
            {"id": task_id},
        ).all()
    return {(row.name, row.round): row for row in rows}
