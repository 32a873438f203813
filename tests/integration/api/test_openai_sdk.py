"""OpenAI's SDK, unmodified, submits tasks and follows them as responses."""

import json
from collections.abc import Iterator
from threading import Thread
from typing import Any

import openai
import pytest
from openai import OpenAI
from sqlalchemy import Engine

from api.middleware import auth, problem
from api.routes import responses
from orchestrator.chord.database import transaction
from orchestrator.memory import keys
from orchestrator.memory.hints import Hints
from orchestrator.models.verdict import Decision
from tests.integration.api.conftest import make_key
from tests.integration.api.live_server import Api, EventWriter
from tests.integration.kit import Engineer, verdict, wait_step
from tests.waiting import wait_until

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


def test_a_stream_has_each_event_once_and_goes_on_after_any_of_them(
    client: OpenAI, engineer: Engineer, event_writer: EventWriter
) -> None:
    with client.responses.create(
        model="octollm", input="Wait a little", background=True, stream=True, extra_body={"octollm": PLAN}
    ) as stream:
        first: Any = next(stream)
        task_id = first.response.id
        finish(engineer, task_id)
        event_writer.hint(task_id)
        seen: list[Any] = [first, *stream]

    last = engineer.task(task_id).event_seq
    done = client.responses.retrieve(task_id)
    assert first.type == "response.created"
    assert [event.sequence_number for event in seen] == list(range(1, last + 7))
    assert {event.type for event in seen[1 : last - 1]} == {"response.in_progress"}
    assert [event.octollm_event["seq"] for event in seen[: last - 1]] == list(range(1, last))
    assert (
        "".join(event.delta for event in seen if event.type == "response.output_text.delta")
        == done.output_text
    )
    assert (seen[-1].type, seen[-1].response) == ("response.completed", done)
    for number in (1, last - 1, last, last + 3, last + 6):
        rest: Any = client.responses.retrieve(task_id, stream=True, starting_after=number)
        assert [event.sequence_number for event in rest] == list(range(number + 1, last + 7))


def test_an_event_that_an_open_task_does_not_have_is_refused(client: OpenAI, engineer: Engineer) -> None:
    """The caller has it from a database that was lost; it would miss events without a word."""
    created = client.responses.create(
        model="octollm", input="Wait a little", background=True, extra_body={"octollm": PLAN}
    )
    last = engineer.task(created.id).event_seq

    with pytest.raises(openai.ConflictError) as refused:
        client.responses.retrieve(created.id, stream=True, starting_after=last + 1)

    assert refused.value.code == "cursor_ahead"


def test_the_sdk_s_own_helper_follows_a_stream_and_parses_the_answer(
    client: OpenAI, engineer: Engineer, event_writer: EventWriter
) -> None:
    made = client.responses.create(
        model="octollm",
        input="Wait a little",
        background=True,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        extra_body={"octollm": PLAN},
    )
    finish(engineer, made.id)

    with client.responses.stream(response_id=made.id) as stream:
        done = stream.get_final_response()

    assert json.loads(done.output_text) == engineer.task(made.id).result["data"]
    assert done.text.format.type == "json_schema"


def test_a_stream_without_room_is_refused_and_its_repetition_makes_no_second_task(
    client: OpenAI, api: Api, engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.hub, "max_streams", 0)
    monkeypatch.setattr(problem, "RETRY_AFTER_SECONDS", 1)

    with pytest.raises(openai.InternalServerError) as full:
        client.with_options(max_retries=1).responses.create(
            model="octollm",
            input="Wait a little",
            stream=True,
            extra_body={"octollm": PLAN},
        )

    assert (full.value.status_code, full.value.code) == (503, "service_unavailable")
    assert len(engineer.ask("SELECT id FROM tasks")) == 1


def test_a_closed_stream_frees_its_place(client: OpenAI, api: Api, engineer: Engineer) -> None:
    stream: Any = client.responses.create(
        model="octollm", input="Wait a little", background=True, stream=True, extra_body={"octollm": PLAN}
    )
    task_id = next(stream).response.id
    assert api.hub.streams == 1

    stream.close()
    engineer.plan(task_id)
    Hints(api.settings.redis_url).send(task_id)

    wait_until(lambda: api.hub.streams == 0, 20, "the stream to end")


def test_a_response_is_cancelled_once_and_then_returned_as_it_is(client: OpenAI, engineer: Engineer) -> None:
    made = client.responses.create(
        model="octollm", input="Wait a little", background=True, extra_body={"octollm": PLAN}
    )

    cancelled, again = client.responses.cancel(made.id), client.responses.cancel(made.id)
    events: list[Any] = list(client.responses.retrieve(made.id, stream=True))

    assert (cancelled.status, again.status) == ("cancelled", "cancelled")
    assert engineer.task(made.id).status == "cancelled"
    assert events[-1].response.status == "cancelled"


def test_without_background_the_answer_comes_with_the_call(
    client: OpenAI, engineer: Engineer, engine: Engine
) -> None:
    def work() -> None:
        wait_until(lambda: engineer.ask("SELECT id FROM tasks"), 20, "the task")
        [task] = engineer.ask("SELECT id FROM tasks")
        finish(engineer, task["id"])
        hints.end(task["id"])

    hints = Hints(engineer.settings.redis_url)
    worker = Thread(target=work)
    worker.start()
    done = client.responses.create(model="octollm", input="Wait a little", extra_body={"octollm": PLAN})
    worker.join()

    assert done.status == "completed"
    assert done.output_text


def test_a_call_that_waits_too_long_says_so_and_its_repetition_makes_no_second_task(
    client: OpenAI, engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_WAIT_SECONDS", 0)

    with pytest.raises(openai.InternalServerError) as late:
        client.with_options(max_retries=1).responses.create(
            model="octollm", input="Wait a little", extra_body={"octollm": PLAN}
        )

    [task] = engineer.ask("SELECT id FROM tasks")
    assert (late.value.status_code, late.value.code) == (504, "still_running")
    assert task["id"] in late.value.message
    assert late.value.request.headers["x-stainless-retry-count"] == "1"


def test_the_same_request_sent_on_purpose_is_another_task(client: OpenAI, engineer: Engineer) -> None:
    asked: Any = {
        "model": "octollm",
        "input": "Wait a little",
        "background": True,
        "extra_body": {"octollm": PLAN},
    }

    made = [client.responses.create(**asked).id for _ in range(3)]
    named = [client.responses.create(**asked, extra_headers={"Idempotency-Key": "k"}).id for _ in range(2)]
    repeated = client.responses.create(**asked, extra_headers={"X-Stainless-Retry-Count": "2"}).id

    assert len({*made, named[0]}) == 4
    assert named[0] == named[1]
    assert repeated == made[-1]
    assert len(engineer.ask("SELECT id FROM tasks")) == 4


def test_a_task_without_budget_left_is_incomplete(client: OpenAI, engineer: Engineer) -> None:
    made = client.responses.create(
        model="octollm", input="Wait a little", background=True, extra_body={"octollm": PLAN}
    )
    engineer.plan(made.id)
    engineer.ask(
        "UPDATE tasks SET status = 'failed', phase = 'done', finished_at = now(),"
        """ error = '{"type": "x", "code": "budget_exceeded", "message": "used up"}' WHERE id = %(id)s RETURNING id""",
        id=made.id,
    )

    done = client.responses.retrieve(made.id)

    assert (done.status, done.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_an_open_response_says_what_it_waits_for(client: OpenAI, engineer: Engineer) -> None:
    plan = {"plan": {"steps": [wait_step("a", approval={"ask": "May it wait?"})]}}
    made = client.responses.create(
        model="octollm", input="Wait", background=True, extra_body={"octollm": plan}
    )
    engineer.plan(made.id)

    shown = client.responses.retrieve(made.id)

    assert shown.status == "in_progress"
    assert "step a is waiting for approval" in shown.metadata["octollm_message"]


def test_a_revoked_key_is_refused_within_seconds(
    api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REVOCATION_SECONDS", 0)
    key_id, text = make_key(engine)
    with OpenAI(base_url=f"{api.url}/v1", api_key=text, max_retries=0) as client:
        client.models.list()
        with transaction(engine) as conn:
            keys.revoke(conn, key_id)

        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_key_needs_the_scope_of_what_it_does(api: Api, engine: Engine) -> None:
    text = make_key(engine, scopes=("task:read",))[1]
    with (
        OpenAI(base_url=f"{api.url}/v1", api_key=text, max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError) as refused,
    ):
        client.responses.create(model="octollm", input="x", background=True)

    assert refused.value.type == "permission_error"


def test_a_key_without_the_scope_to_read_gets_no_answer_by_repeating_or_cancelling_a_request(
    client: OpenAI, api: Api, engine: Engine, engineer: Engineer
) -> None:
    asked: dict[str, Any] = {
        "model": "octollm",
        "input": "x",
        "background": True,
        "extra_body": {"octollm": PLAN},
        "extra_headers": {"Idempotency-Key": "k"},
    }
    made = client.responses.create(**asked)
    finish(engineer, made.id)
    text = make_key(engine, scopes=("task:submit", "task:cancel"))[1]
    with OpenAI(base_url=f"{api.url}/v1", api_key=text, max_retries=0) as other:
        with pytest.raises(openai.PermissionDeniedError):
            other.responses.create(**asked)
        with pytest.raises(openai.PermissionDeniedError):
            other.responses.cancel(made.id)


def test_an_api_key_is_refused_where_it_must_be_exchanged(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client.get("/tasks", cast_to=object)

    assert "POST /v1/auth/token" in refused.value.message
