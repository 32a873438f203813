"""OpenAI's SDK, unmodified, submits tasks and follows them as responses."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from sqlalchemy import Engine

from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import make_key
from tests.integration.api.live_server import Api
from tests.integration.kit import Engineer, verdict, wait_step

PLAN = {"plan": {"steps": [wait_step("a")]}}


@pytest.fixture
def client(api: Api, engine: Engine) -> Iterator[OpenAI]:
    """The SDK with an API key of the tenant."""
    with OpenAI(base_url=f"{api.url}/v1", api_key=make_key(engine)[1], max_retries=0) as made:
        yield made


def finish(engineer: Engineer, task_id: str) -> None:
    engineer.plan(task_id)
    engineer.do(task_id, "a", output={"summary": "waited"})
    engineer.judge(task_id, verdict(Decision.PASSED))


def test_a_background_response_is_created_and_polled_until_it_is_completed(
    client: OpenAI, engineer: Engineer
) -> None:
    made = client.responses.create(
        model="octollm",
        input="Wait a little",
        background=True,
        metadata={"ticket": "17"},
        extra_body={"octollm": PLAN},
    )
    engineer.plan(made.id)
    running = client.responses.retrieve(made.id)
    engineer.do(made.id, "a", output={"summary": "waited"})
    engineer.judge(made.id, verdict(Decision.PASSED))
    done = client.responses.retrieve(made.id)

    assert [made.status, running.status, done.status] == ["queued", "in_progress", "completed"]
    assert done.output_text == engineer.task(made.id).result["output"]
    assert done.metadata["ticket"] == "17"
    assert done.metadata["octollm_task_id"] == made.id
    assert done.metadata["octollm_verdict"] == "passed"
    assert "octollm_cost_dollars" in done.metadata


def test_the_models_are_octollm_and_its_recipes(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]

    assert names[0] == "octollm"
    assert "octollm/search-documents" in names


def test_errors_are_the_exceptions_of_the_sdk(client: OpenAI, api: Api) -> None:
    stranger = OpenAI(
        base_url=f"{api.url}/v1", api_key="octo_live_" + "0" * 12 + "_" + "0" * 43, max_retries=0
    )

    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="octollm", input="x", background=True, temperature=0.5)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("task_0000000000000000")
    with pytest.raises(openai.AuthenticationError):
        stranger.responses.retrieve("task_0000000000000000")

    assert refused.value.param == "temperature"
    assert refused.value.type == "invalid_request_error"
    assert refused.value.code == "validation_error"
