"""A model's plan that a repair can't mend is made again: what is done is kept, and no right is added."""

from collections.abc import Iterator

import pytest

from orchestrator.conclusion import PlanAsked
from orchestrator.lifecycle.ending import Ended
from orchestrator.models.execution_state import TaskStatus
from orchestrator.models.verdict import Decision
from tests.fake_llm.server import FakeLLM
from tests.integration.kit import Engineer, failed, verdict
from tests.integration.replan_kit import Replanner, planned


@pytest.fixture
def replanner(engineer: Engineer) -> Iterator[Replanner]:
    """A planner with a model."""
    with FakeLLM() as fake:
        yield Replanner(engineer, fake)


def test_a_rejected_plan_of_a_model_is_made_again_and_keeps_what_is_done(replanner: Replanner) -> None:
    engineer = replanner.engineer
    task_id = replanner.start(planned("first"), planned("second", "first"))
    engineer.do(task_id, "first", output={"summary": "found it", "seconds": 0})
    engineer.store(engineer.take(task_id, "second"), failed("needs_replan", message="it is a wide table"))

    asked = engineer.judge(task_id, verdict(Decision.FAILED, second="failed with needs_replan"))
    phase = engineer.task(task_id).phase
    replanner.plan(task_id, planned("first"), planned("third", "first"))
    engineer.do(task_id, "third")
    ended = engineer.judge(task_id, verdict(Decision.PASSED))

    assert isinstance(asked, PlanAsked)
    assert phase == "planning"
    assert [row["round"] for row in engineer.rows(task_id, "first")] == [1]
    assert engineer.row(task_id, "third")["round"] == 2
    assert engineer.row(task_id, "third")["bindings"] == {"first": engineer.row(task_id, "first")["id"]}
    assert isinstance(ended, Ended)
    assert ended.status is TaskStatus.COMPLETED
    told = replanner.fake.received[-1].text
    assert "it is a wide table" in told
    assert "found it" in told
