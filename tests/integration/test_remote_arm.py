"""A step of an HTTP arm: what the arm gets, what each of its answers means, and that it can't hold a worker."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from orchestrator.auth.credential import arm_secret
from orchestrator.chord.database import statement
from orchestrator.memory import pools
from orchestrator.memory.registered_arms import RegisteredArms
from orchestrator.models.arm_capability import ARMS, arm_of
from orchestrator.models.arm_errors import ArmExpired, ArmFailed, ArmUnavailable
from orchestrator.models.errors import (
    InvalidOutput,
    InvalidStepInput,
    MustWait,
    NeedsReplan,
    OutcomeUnknown,
    StepError,
    Stopped,
    ToolTimeout,
)
from orchestrator.registry.manifest import read_manifests
from orchestrator.registry.sources import REGISTRY
from tests.http_arm import Behaviour, Request, fails, says, serve_arm, succeeds
from tests.integration.http_arm_kit import ARM, Caller, calling
from tests.integration.kit import TENANT, Engineer
from tests.traces import kept
from tests.waiting import wait_until
from workers.arms.base import load_arm
from workers.arms.remote_answer import MAX_ANSWER_BYTES


@pytest.fixture
def caller(engineer: Engineer) -> Iterator[Caller]:
    """A registered arm that answers 21 degrees, and a process that may call it."""
    with calling(engineer) as made:
        yield made


def test_the_arm_gets_the_step_and_its_result_is_the_steps(caller: Caller) -> None:
    result = caller.run()

    (came,) = caller.arm.received
    assert came.path == "/arm/execute"
    assert (came.body["action"], came.body["inputs"], came.body["arm"]) == ("look", {"city": "Bonn"}, ARM)
    assert 0 < came.body["timeout_seconds"] <= 20
    assert came.headers["Idempotency-Key"] == came.body["step_id"]
    assert came.headers["X-Request-ID"] == came.body["request_id"] == f"{came.body['step_id']}:1"
    assert result.output == {"degrees": 21}
    assert result.provenance["arm"] == ARM


def test_a_call_is_a_span_with_the_error_that_it_ends_with(caller: Caller) -> None:
    with kept() as spans:
        caller.run()
        caller.arm.behaves = fails(500, "broken", retryable=False)
        error = caller.error()

    assert spans.tree("gen_ai.tool.type", "error.type") == [
        "execute_tool look extension",
        f"execute_tool look extension {error.code}",
    ]


def test_a_second_attempt_has_the_same_key_and_another_request_id(caller: Caller) -> None:
    caller.run()
    caller.run(attempt=2)

    first, second = caller.arm.received
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_the_arm_can_verify_who_asks_and_what(caller: Caller) -> None:
    caller.run()

    (came,) = caller.arm.received
    signer = Webhook(arm_secret(caller.process.settings, ARM))
    assert signer.verify(came.raw, came.headers)["action"] == "look"
    with pytest.raises(WebhookVerificationError):
        signer.verify(came.raw.replace(b"Bonn", b"Rome"), came.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(arm_secret(caller.process.settings, "umbrella/weather")).verify(came.raw, came.headers)


def test_inputs_that_break_the_contract_are_not_sent(caller: Caller) -> None:
    error = caller.error(inputs={"town": "Bonn"})

    assert isinstance(error, InvalidStepInput)
    assert caller.arm.received == []


@pytest.mark.parametrize(
    ("behaves", "kind", "retryable"),
    [
        (fails(200, "no_such_city"), ArmFailed, False),
        (fails(422, "no_such_city"), ArmFailed, False),
        (fails(500, "odd", retryable=False), ArmFailed, False),
        (fails(409, "busy", retryable=True), ArmFailed, True),
        (fails(503, "busy"), ArmFailed, True),
        (says(404, b"nothing here"), ArmFailed, False),
        (says(401, {"success": True}), ArmFailed, False),
        (says(302, b"", Location="http://169.254.169.254/"), ArmFailed, False),
        (says(429, b""), ArmUnavailable, True),
        (says(502, b"<html>"), ArmUnavailable, True),
        (says(200, b"[" * 100_000), InvalidOutput, False),
        (says(200, b'{"success": true, "success": true}'), InvalidOutput, False),
        (says(200, b'{"success": true, "result": {"degrees": 1e999}}'), InvalidOutput, False),
        (says(200, b'{"success": true, "result": {"degrees": 1, "a": "\\u0000"}}'), InvalidOutput, False),
        (says(200, {"success": True, "result": {"degrees": "warm"}}), InvalidOutput, False),
        (says(200, {"success": True}), InvalidOutput, False),
        (says(200, {"degrees": 21}), InvalidOutput, False),
        (says(200, b"\xff\xfe"), InvalidOutput, False),
        (says(204, b""), InvalidOutput, False),
        (fails(422, "needs_replan"), NeedsReplan, False),
    ],
)
def test_each_answer_has_one_meaning(
    caller: Caller, behaves: Behaviour, kind: type[StepError], *, retryable: bool
) -> None:
    caller.arm.behaves = behaves

    error = caller.error()

    assert (type(error).__mro__.count(kind), error.retryable) == (1, retryable)
    assert len(caller.arm.received) == 1


def test_the_arms_own_code_and_message_are_kept_and_can_not_pass_for_ours(caller: Caller) -> None:
    caller.arm.behaves = fails(400, "budget_exceeded")

    error = caller.error()

    assert (error.code, error.details["arm_code"]) == ("arm_failed", "budget_exceeded")
    assert "no luck" in error.message


@pytest.mark.parametrize(
    "behaves", [fails(429, "slow_down", retryable=True, Retry_After="7"), says(503, b"", Retry_After="7")]
)
def test_an_arm_that_asks_for_a_pause_gets_it(caller: Caller, behaves: Behaviour) -> None:
    caller.arm.behaves = behaves

    assert caller.error().details["retry_after"] == 7

    refused = caller.error()
    assert isinstance(refused, MustWait)
    assert 0 < refused.details["retry_after"] <= 7
    assert len(caller.arm.received) == 1


def trickle(handler: BaseHTTPRequestHandler, _: Request, *, over: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
    while not over.wait(0.05):
        handler.wfile.write(b" ")


def test_a_slow_body_ends_with_the_steps_time(caller: Caller) -> None:
    caller.arm.behaves = lambda handler, came: trickle(handler, came, over=caller.arm.is_over)
    started = time.monotonic()

    error = caller.error(seconds=0.5)

    assert isinstance(error, ToolTimeout)
    assert time.monotonic() - started < 10


def test_an_endless_body_is_read_up_to_the_limit(caller: Caller) -> None:
    def pour(handler: BaseHTTPRequestHandler, _: Request) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n{")
        while not caller.arm.is_over.is_set():
            handler.wfile.write(b" " * 65_536)

    caller.arm.behaves = pour

    error = caller.error()

    assert isinstance(error, InvalidOutput)
    assert f"{MAX_ANSWER_BYTES:,}" in error.message


def test_endless_headers_are_refused(caller: Caller) -> None:
    def pour(handler: BaseHTTPRequestHandler, _: Request) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not caller.arm.is_over.is_set():
            handler.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")

    caller.arm.behaves = pour

    assert isinstance(caller.error(), ArmUnavailable)


def test_a_stopped_attempt_closes_the_connection_at_once(caller: Caller) -> None:
    caller.arm.behaves = lambda handler, came: trickle(handler, came, over=caller.arm.is_over)
    given = caller.assigned(seconds=60)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            load_arm(ARM).run(given)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: caller.arm.received, 10, "the arm to be asked")
    given.cancelled.set()
    thread.join(10)

    assert [type(error) for error in ended] == [Stopped]


def hang_up(handler: BaseHTTPRequestHandler, _: Request) -> None:
    handler.connection.close()


@pytest.mark.parametrize(
    "behaves",
    [
        hang_up,
        says(500, b"oops"),
        says(502, b""),
        says(504, b""),
        says(200, b"not json"),
        says(200, {"success": True, "result": {"degrees": "warm"}}),
        fails(500, "outcome_unknown"),
    ],
)
def test_a_write_whose_answer_tells_nothing_has_an_unknown_outcome(
    caller: Caller, behaves: Behaviour
) -> None:
    caller.arm.behaves = behaves

    assert isinstance(caller.error("set"), OutcomeUnknown)


def test_a_write_that_does_not_answer_in_time_has_an_unknown_outcome(caller: Caller) -> None:
    caller.arm.behaves = lambda handler, came: trickle(handler, came, over=caller.arm.is_over)

    assert isinstance(caller.error("set", seconds=0.5), OutcomeUnknown)


@pytest.mark.parametrize("behaves", [fails(500, "full", retryable=True), says(429, b""), says(404, b"")])
def test_a_write_that_was_refused_has_a_known_outcome(caller: Caller, behaves: Behaviour) -> None:
    caller.arm.behaves = behaves

    assert not isinstance(caller.error("set"), OutcomeUnknown)


def test_a_write_that_could_not_be_sent_has_a_known_outcome(caller: Caller) -> None:
    caller.register("http://127.0.0.1:1/")
    settings = replace(caller.process.settings, arm_local_targets=("127.0.0.1:1",))
    caller.process = replace(caller.process, settings=settings)

    error = caller.error("set")

    assert isinstance(error, ArmUnavailable)
    assert error.retryable


def test_a_host_that_is_no_longer_allowed_gets_nothing(caller: Caller) -> None:
    settings = replace(caller.process.settings, arm_local_targets=())
    caller.process = replace(caller.process, settings=settings)

    error = caller.error()

    assert isinstance(error, ArmFailed)
    assert "ARM_ALLOWED_HOSTS" in error.message
    assert caller.arm.received == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
def test_an_allowed_name_that_leads_to_a_private_address_is_not_contacted(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The operator allowed the name, but the name's owner may point it to any address."""
    settings = replace(caller.process.settings, arm_allowed_hosts=("arms.example.com",))
    caller.process = replace(caller.process, settings=settings)
    caller.register("https://arms.example.com/")
    asked = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
    ask = socket.getaddrinfo

    def answer(host: str, *where: Any, **how: Any) -> Any:
        return asked if host == "arms.example.com" else ask(host, *where, **how)

    monkeypatch.setattr(socket, "getaddrinfo", answer)

    error = caller.error("set")

    assert isinstance(error, ArmUnavailable)
    assert "not public" in error.message
    assert caller.arm.received == []


def test_after_repeated_failures_the_arm_is_left_alone_and_shown_as_out(caller: Caller) -> None:
    caller.arm.behaves = says(500, b"")

    errors = [caller.error() for _ in range(6)]

    assert [type(error) for error in errors] == [ArmUnavailable] * 5 + [MustWait]
    assert len(caller.arm.received) == 5
    with statement(caller.process.engine) as conn:
        found = pools.arm_statistics(conn, arms=[ARMS[ARM]])
    assert "circuit breaker" in found[ARM].outage


def test_an_error_of_the_action_does_not_open_the_breaker(caller: Caller) -> None:
    caller.arm.behaves = fails(500, "no_such_city")

    errors = [caller.error() for _ in range(7)]

    assert {type(error) for error in errors} <= {ArmFailed, *ArmFailed.__subclasses__()}


def test_a_step_of_an_expired_arm_waits_and_then_fails(caller: Caller, engineer: Engineer) -> None:
    caller.register(caller.arm.url, ttl_seconds=0)
    waits = caller.error()
    engineer.ask("UPDATE registered_arms SET expires_at = now() - interval '1 day'")
    ends = caller.error()

    assert isinstance(waits, MustWait)
    assert (type(ends), ends.code, ends.retryable) == (ArmExpired, "arm_unavailable", False)
    assert caller.arm.received == []


def test_an_arm_that_moved_gets_the_next_step_at_its_new_place(caller: Caller) -> None:
    with serve_arm(succeeds(degrees=5)) as elsewhere:
        settings = replace(caller.process.settings, arm_local_targets=(elsewhere.target,))
        caller.process = replace(caller.process, settings=settings)
        caller.register(elsewhere.url)

        assert caller.run().output == {"degrees": 5}


def test_an_arm_of_a_file_is_called_at_its_manifests_url(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = f'''arm_id = "thermometer"
description = "Says how warm it is"
url = "{caller.arm.url}"
[actions.look]
description = "Looks."
effects = "read"'''
    (tmp_path / "thermometer.toml").write_text(manifest)
    found = {arm.arm_id: arm for arm in map(arm_of, read_manifests(REGISTRY, str(tmp_path)))}
    monkeypatch.setattr(ARMS, "_static", found)

    result = load_arm("thermometer").run(caller.assigned(arm="thermometer", inputs={}))

    (came,) = caller.arm.received
    assert result.output == {"degrees": 21}
    assert Webhook(arm_secret(caller.process.settings, "thermometer")).verify(came.raw, came.headers)
    assert (found["thermometer"].queue, found["thermometer"].process) == ("arm.thermometer", "arms")


def test_what_a_manifest_says_of_processes_does_not_count(caller: Caller, engineer: Engineer) -> None:
    forged = {"queue": "planner", "process": "planner", "saves_rounds": True, "module": "os", "tenant": None}
    engineer.ask(
        "UPDATE registered_arms SET manifest = manifest || CAST(%(forged)s AS jsonb)",
        forged=json.dumps(forged),
    )

    arm = RegisteredArms(engineer.engine).find(ARM)

    assert (arm.queue, arm.process, arm.tenant, arm.kind) == ("arm.remote", "remote", TENANT, "http")
    assert (arm.saves_rounds, arm.module) == (False, None)
