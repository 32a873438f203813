"""MCP servers as arms: real servers in a real sandbox, most of which do what a server must not do."""

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp.shared import _otel
from opentelemetry.trace import NoOpTracer

from orchestrator.models.errors import (
    InvalidOutput,
    InvalidStepInput,
    OutcomeUnknown,
    OutputTooLarge,
    PermitDenied,
    StepError,
    Stopped,
    ToolChanged,
    ToolFailed,
    ToolReportsError,
    ToolServerLost,
    ToolTimeout,
)
from orchestrator.models.step_result import StepResult
from tests.mcp_kit import freeze_arm, odd_server, servers_of, using
from tests.traces import kept
from tests.unit.arm_kit import assignment, run
from tests.waiting import wait_until
from workers.arms import mcp
from workers.arms.base import Assignment
from workers.mcp import session
from workers.mcp.server import VARIABLES
from workers.sandbox.selection import SandboxStatus


class Odd:
    """The arm `odd` of a server that misbehaves in one way."""

    def __init__(self, place: Path, sandbox: SandboxStatus) -> None:
        self.place, self.sandbox = place, sandbox

    def call(self, action: str = "read_it", text: str = "hello", **changes: Any) -> StepResult:
        """Run one step of the arm."""
        return run(replace(assignment("odd", action, {"text": text}), **changes), sandbox=self.sandbox)

    def calls(self) -> list[str]:
        """Return the tools that the server was asked to call."""
        path = self.place / "calls"
        return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture
def odd(request: pytest.FixtureRequest, tmp_path: Path, sandbox: SandboxStatus) -> Iterator[Odd]:
    """The arm of a server in the mode that the test's parameter names."""
    place = tmp_path / "server"
    freeze_arm(tmp_path / "arms", "odd", odd_server(request.param, place), sandbox=sandbox)
    with using(tmp_path / "arms"):
        yield Odd(place, sandbox)


def misbehaving(*modes: str) -> pytest.MarkDecorator:
    """Run a test with a server in each of the modes."""
    return pytest.mark.parametrize("odd", modes, indirect=True)


@misbehaving("good", "chatter")
def test_a_tool_is_an_action_and_its_answer_is_marked_as_data(odd: Odd) -> None:
    result = odd.call(text="hello")

    assert result.output["text"] == "hello"
    assert result.output["untrusted"] is True
    assert result.provenance["tools"] == {"mcp-server": "1.0"}
    assert result.provenance["isolation"] != "not_needed"


@misbehaving("good")
def test_a_server_stays_warm_between_calls_and_ends_with_its_sessions(odd: Odd) -> None:
    odd.call()
    first = servers_of(odd.place)

    odd.call()

    assert len(first) == 1
    assert servers_of(odd.place) == first


@misbehaving("good")
def test_a_server_that_was_killed_between_calls_is_started_again(odd: Odd) -> None:
    odd.call()
    (first,) = servers_of(odd.place)

    os.kill(first, signal.SIGKILL)

    assert odd.call().output["text"] == "hello"
    assert servers_of(odd.place) != [first]


@misbehaving("good")
def test_arguments_are_checked_before_the_server_sees_them(odd: Odd) -> None:
    with pytest.raises(InvalidStepInput, match="text"):
        run(assignment("odd", "read_it", {"text": 5}), sandbox=odd.sandbox)
    with pytest.raises(InvalidStepInput, match="unknown"):
        run(assignment("odd", "read_it", {"text": "a", "path": "/"}), sandbox=odd.sandbox)

    assert odd.calls() == []


@misbehaving("good")
def test_a_permit_must_allow_the_server(odd: Odd) -> None:
    with pytest.raises(PermitDenied):
        odd.call(tools=())


@misbehaving("good")
def test_a_tool_that_changed_after_its_approval_is_not_called(odd: Odd) -> None:
    odd.call()
    (odd.place / "changed").touch()

    with pytest.raises(ToolChanged, match="octollm tools diff odd"):
        odd.call()

    assert odd.call("write_it").output["text"] == "hello"
    assert odd.calls() == ["read_it", "write it"]


@misbehaving("good")
def test_actions_that_were_loosened_by_hand_are_refused(odd: Odd, tmp_path: Path) -> None:
    stated = tmp_path / "arms" / "odd" / "actions.json"
    stated.write_text(stated.read_text().replace('"write"', '"read"'))

    with using(tmp_path / "arms"), pytest.raises(ToolChanged, match="may be tightened"):
        odd.call("write_it")

    assert odd.calls() == []


@misbehaving("dies")
def test_a_server_that_dies_in_a_read_is_lost_and_in_a_write_leaves_the_outcome_unknown(odd: Odd) -> None:
    with pytest.raises(ToolServerLost) as lost:
        odd.call("read_it")
    with pytest.raises(OutcomeUnknown):
        odd.call("write_it")

    assert lost.value.retryable
    assert odd.calls() == ["read_it", "write it"]


@misbehaving("silent")
def test_kill_9_in_the_middle_of_a_write_leaves_the_outcome_unknown(odd: Odd) -> None:
    failed: list[BaseException] = []

    def write() -> None:
        try:
            odd.call("write_it")
        except StepError as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: odd.calls() == ["write it"], 30, "the call")

    for pid in servers_of(odd.place):
        os.kill(pid, signal.SIGKILL)
    thread.join(30)

    assert [type(error) for error in failed] == [OutcomeUnknown]
    assert odd.calls() == ["write it"]


@misbehaving("silent")
def test_a_stopped_call_is_cancelled_by_the_protocol_and_its_server_ends(odd: Odd) -> None:
    given = assignment("odd", "read_it", {"text": "hello"})
    stopper = threading.Thread(
        target=lambda: (wait_until(odd.calls, 30, "the call"), given.cancelled.set()), daemon=True
    )
    stopper.start()

    with pytest.raises(Stopped):
        run(given, sandbox=odd.sandbox)

    wait_until((odd.place / "cancelled").exists, 30, "notifications/cancelled")
    wait_until(lambda: servers_of(odd.place) == [], 30, "the end of the server")


class LateOnceCalled(Assignment):
    """An assignment whose time ends when the server has been called."""

    def checkpoint(self) -> None:
        """Raise ToolTimeout once the server has noted a call."""
        if (Path(self.goal) / "calls").exists():
            raise ToolTimeout("too late")


@misbehaving("silent")
@pytest.mark.parametrize(("action", "error"), [("read_it", ToolTimeout), ("write_it", OutcomeUnknown)])
def test_a_call_past_its_time_is_a_timeout_or_for_a_write_an_unknown_outcome(
    odd: Odd, action: str, error: type[StepError]
) -> None:
    given = replace(assignment("odd", action, {"text": "hello"}), goal=str(odd.place))

    with pytest.raises(error):
        run(LateOnceCalled(**vars(given)), sandbox=odd.sandbox)


@misbehaving("endless", "long line")
def test_output_without_end_ends_the_server_and_not_the_worker(odd: Odd) -> None:
    with pytest.raises(OutputTooLarge):
        odd.call("read_it")

    wait_until(lambda: servers_of(odd.place) == [], 30, "the end of the server")


@misbehaving("fails")
def test_an_error_of_the_tool_is_a_failed_step_with_what_it_said_as_data(odd: Odd) -> None:
    with pytest.raises(ToolReportsError) as failed, kept() as spans:
        odd.call("write_it")

    assert spans.tree("gen_ai.tool.type", "error.type") == ["execute_tool write it extension tool_failed"]
    assert failed.value.details == {"said": "it went wrong", "untrusted": True}
    assert "went wrong" not in failed.value.message
    assert (failed.value.code, failed.value.may_have_acted) == ("tool_failed", True)


@misbehaving("refuses")
def test_a_server_s_refusal_fails_the_step_also_of_a_write(odd: Odd) -> None:
    for action in ("read_it", "write_it"):
        with pytest.raises(ToolFailed, match="-32602"):
            odd.call(action)


@misbehaving("breaks", "nonsense")
def test_an_answer_that_does_not_say_what_happened_leaves_a_write_unknown(odd: Odd) -> None:
    with pytest.raises(ToolFailed):
        odd.call("read_it")
    with pytest.raises(OutcomeUnknown):
        odd.call("write_it")


@misbehaving("leaks")
def test_secrets_in_an_answer_are_redacted_and_instructions_in_it_are_reported(odd: Odd) -> None:
    result = odd.call()

    assert "AKIA" not in json.dumps(result.to_record())
    assert "[redacted:secret." in result.output["text"]
    assert any("instructions" in warning for warning in result.warnings)


@misbehaving("long text")
def test_a_long_text_is_cut_with_a_warning(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "MAX_CHARACTERS", 10_000)

    result = odd.call()

    assert len(result.output["text"]) == 10_000
    assert result.output["complete"] is False
    assert result.warnings


@misbehaving("pictures")
def test_a_picture_is_left_out_with_a_warning(odd: Odd) -> None:
    result = odd.call()

    assert result.output["left_out"] == [{"kind": "image", "mime_type": "image/png", "bytes": 6}]
    assert "aGVsbG8" not in json.dumps(result.to_record())
    assert result.warnings


@misbehaving("measured")
def test_a_structured_answer_must_follow_the_frozen_schema(odd: Odd) -> None:
    assert odd.call(text="hello").output["structured"] == {"length": 5}

    with pytest.raises(InvalidOutput, match="output schema at length") as broken:
        odd.call(text="lie")
    # of a write: the tool has done its work
    assert broken.value.leaves_effect_open


@misbehaving("looks")
def test_a_server_sees_neither_our_environment_nor_files_that_its_manifest_does_not_name(
    odd: Odd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET", "not for servers")

    found: Mapping[str, Any] = json.loads(odd.call().output["text"])

    given = {*VARIABLES, "HOME", "TMPDIR", "OCTOLLM_SANDBOX"}
    assert set(found["env"]) - {"PWD"} == given
    assert not any(found["seen"].values())
    assert found["files"] == ["calls"]


@misbehaving("good")
def test_several_steps_share_a_server_at_the_same_time(odd: Odd) -> None:
    texts = [f"text {number}" for number in range(8)]
    answers: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda text=text: answers.update({text: odd.call(text=text).output["text"]}))
        for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert answers == {text: text for text in texts}
    assert len(servers_of(odd.place)) == 1


@misbehaving("good")
def test_the_sdk_makes_no_spans_of_its_own_and_logs_nothing_that_a_server_wrote(odd: Odd) -> None:
    odd.call()

    assert isinstance(_otel._tracer, NoOpTracer)
    assert not logging.getLogger("mcp").isEnabledFor(logging.CRITICAL)
    assert not logging.getLogger("client").isEnabledFor(logging.CRITICAL)


@misbehaving("good")
def test_an_idle_server_ends(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "IDLE_SECONDS", 0.1)

    odd.call()

    wait_until(lambda: servers_of(odd.place) == [], 30, "the end of the idle server")
    assert odd.call().output["text"] == "hello"
