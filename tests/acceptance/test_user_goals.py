"""Goals as new users send them, without a model: each is answered, or the refusal says how to get an answer."""

from typing import Any

import pytest

from tests.acceptance.client import Client
from tests.acceptance.user_goals import (
    COMPARE,
    EXPLAIN,
    FIND_TODOS,
    PACKAGE,
    REFUND,
    SUMMARISE,
    WRITE_TESTS,
    UserGoal,
)

LETTER = UserGoal("Compare these two documents", {"a.txt": b"one\ntwo\nthree\n", "b.txt": b"one\n2\nthree\n"})
LINES = UserGoal('Find all lines with "refund"', {"notes.txt": b"a refund\nnothing\nno refund today\n"})
SECRETS = UserGoal("Are there secrets in these files?", {"shop.zip": PACKAGE})
COUNT = UserGoal("Count the words in this document", {"notes.txt": b"one two three\nfour\n"})


def sent(client: Client, goal: UserGoal) -> dict[str, Any]:
    """Run a goal with its files, as a user does who sets nothing else."""
    files = [client.upload(content, filename=name) for name, content in goal.files.items()]
    return client.run(goal.goal, attachments=files)


@pytest.mark.parametrize(
    ("goal", "wanted"),
    [
        (SUMMARISE, ["refund", "manual.md"]),
        (FIND_TODOS, ["shop/cart.py:2", "check the stock", "shop/pay.py:1", "retry a failed payment"]),
        (COMPARE, ["fig", "plum", "20", "25"]),
        (REFUND, ["three days"]),
        (LETTER, ["-two", "+2"]),
        (LINES, ["notes.txt:1", "a refund", "notes.txt:3", "no refund today"]),
        (COUNT, ["| notes.txt | 19 | 2 | 4 |"]),
        (SECRETS, ["secrets: 0"]),
    ],
    ids=lambda value: value.goal if isinstance(value, UserGoal) else "",
)
def test_a_goal_is_answered_without_a_model(client: Client, goal: UserGoal, wanted: list[str]) -> None:
    task = sent(client, goal)

    assert task["status"] == "completed", task
    missing = [words for words in wanted if words not in task["result"]["output"]]
    assert missing == [], task["result"]["output"]
    assert task["result"]["validation_passed"] is True
    assert task["metadata"]["tokens_used"] == 0


@pytest.mark.parametrize("goal", [EXPLAIN, WRITE_TESTS], ids=lambda goal: goal.goal)
def test_a_goal_that_needs_a_model_is_refused_with_the_way_to_one(client: Client, goal: UserGoal) -> None:
    files = [client.upload(content, filename=name) for name, content in goal.files.items()]

    answer = client.call("POST", "/v1/tasks", {"goal": goal.goal, "attachments": files})
    problem = answer.body if answer.status != 202 else client.end_of(answer.body["task_id"])["error"]

    assert "OPENAI_API_KEY" in str(problem) or "LLM_CHAIN" in str(problem), problem
